"""Runs: once for each event and version, all of their actions or none, and whatever became of them is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from tests.integration.integrations.automation.conftest import ENDED, Notes, Shop, cel, claimed, no_jobs, note

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.db.embedded import EmbeddedPostgres
from datalane.db.provision import Prepared
from datalane.engine.events import publish
from datalane.engine.jobs import NewJob, cancel_jobs, enqueue, enqueue_batch
from datalane.errors import NotFound
from datalane.integrations.automation.metrics import RUNS
from datalane.integrations.automation.service import KIND
from datalane.kit.ids import uuid7

# What a rule does ---------------------------------------------------------------------------------------------------


async def test_an_event_runs_what_its_rule_says_with_values_of_the_event(shop: Shop) -> None:
    rule = await shop.rule(
        note(cel("'invoice ' + string(event.payload.invoice)")), note(), condition="event.payload.invoice > 5"
    )
    event_id = await shop.pay(7)
    async with shop.working():
        [run] = await shop.ended()
    assert (run.status, run.rule_id, run.rule_version, run.event_id) == ("completed", rule.rule_id, 1, event_id)
    assert [(each.action, each.status, each.result) for each in run.actions] == [
        ("note", "succeeded", {"text": "invoice 7"}),
        ("note", "succeeded", {"text": "paid"}),
    ]
    assert await shop.left() == ["invoice 7", "paid"]
    keys = await shop.rows("SELECT payload ->> 'key' FROM datalane.events WHERE event_type = 'note.left'")
    assert sorted(keys) == [(f"{run.run_id}:0",), (f"{run.run_id}:1",)]
    [(cause, depth, actor)] = await shop.rows(
        "SELECT DISTINCT causation_id, causation_depth, actor_id FROM datalane.events WHERE event_type = 'note.left'"
    )
    assert (cause, depth, actor) == (event_id, 1, shop.context.actor_id)


async def test_a_condition_that_does_not_hold_is_a_run_that_was_skipped(shop: Shop) -> None:
    await shop.rule(note(cel("event.payload.missing")), condition="event.payload.invoice > 100")
    await shop.pay(7)
    async with shop.working():
        [run] = await shop.ended()
    assert (run.status, run.reason, run.actions, await shop.left()) == ("skipped", "condition", [], [])


async def test_a_rule_makes_items_and_moves_them_for_the_actor_of_the_event(shop: Shop) -> None:
    title = cel("'Invoice ' + string(event.payload.invoice)")
    await shop.rule(("item.create", {"title": title, "tags": ["paid"], "priority": 2}))
    await shop.rule(
        ("item.transition", {"item_id": cel("event.payload.item_id"), "status": "active"}),
        name="Another rule",
        event_type="item.created",
    )
    await shop.pay(7)
    async with shop.working():
        made, moved = reversed(await shop.ended(2))
    assert made.actions[0].result == {**(made.actions[0].result or {}), "version": 1, "status": "draft"}
    assert moved.actions[0].result == {**(made.actions[0].result or {}), "version": 2, "status": "active"}
    assert moved.causation_depth == 1
    [row] = await shop.rows("SELECT title, priority, status, created_by_actor_id FROM datalane.items")
    assert row == ("Invoice 7", 2, "active", shop.context.actor_id)


@pytest.mark.parametrize(
    ("condition", "arguments", "error_class", "says"),
    [
        ("event.payload.customer == 'ada'", {"text": "x"}, "condition_error", 'Key not found in map : "customer"'),
        ("event.payload.maybe", {"text": "x"}, "condition_not_boolean", "its value is of the type STRING"),
        ("true", {"text": {"cel": "event.payload.customer"}}, "condition_error", "actions.0.arguments.text: Key not"),
        ("true", {"text": {"cel": "event.payload.invoice"}}, "invalid_input", "action 1 (note): the arguments of note"),
        (
            "event.payload.list.all(a, event.payload.list.all(b, event.payload.list.all(c, a + b + c >= 0)))",
            {"text": "x"},
            "condition_timeout",
            "condition: it goes through too many elements",
        ),
    ],
)
async def test_an_expression_without_a_value_fails_its_run_at_once_and_no_other(
    shop: Shop, condition: str, arguments: dict[str, Any], error_class: str, says: str
) -> None:
    await shop.rule(("note", arguments), condition=condition)
    await shop.rule(note("well"), name="A rule that is well")
    await shop.pay(7, maybe="yes", list=list(range(1_000)))
    async with shop.working():
        failed, completed = sorted(await shop.ended(2), key=lambda run: run.status != "failed")
    assert (failed.status, failed.error_class, failed.attempt_count) == ("failed", error_class, 1)
    assert says in (failed.error_message or "")
    assert (completed.status, await shop.left()) == ("completed", ["well"])


# Half way -----------------------------------------------------------------------------------------------------------


async def test_an_action_that_fails_undoes_those_before_it_and_is_tried_again(shop: Shop, notes: Notes) -> None:
    await shop.rule(note("first"), note("second", fails=1), note("third"))
    await shop.pay()
    async with shop.working():
        [run] = await shop.ended()
    assert (run.status, run.attempt_count, run.error_class) == ("completed", 2, None)
    assert await shop.left() == ["first", "second", "third"], "each is there once"
    assert notes.tries == {"first": 2, "second": 2, "third": 1}


async def test_a_run_out_of_attempts_is_a_dead_letter_that_says_what_each_action_did(shop: Shop) -> None:
    await shop.rule(note("first"), note("second", fails=3), note("third"))
    await shop.pay()
    async with shop.working():
        [run] = await shop.ended()
        assert (run.status, run.attempt_count, run.error_class) == ("dead_letter", 3, "unexpected_internal")
        assert run.error_message == "action 2 (note): RuntimeError: not this time"
        assert [each.status for each in run.actions] == ["undone", "failed", "not_run"]
        assert (run.actions[1].error_class, await shop.left()) == ("unexpected_internal", [])
        told = await shop.replay(ids=[run.run_id])
        assert (told.replayed, told.ids) == (1, [run.run_id])
        [again] = await shop.ended(1, "completed")
    assert (again.run_id, again.replay_count, again.attempt_count) == (run.run_id, 1, 1)
    assert [each.status for each in again.actions] == ["succeeded"] * 3
    assert await shop.left() == ["first", "second", "third"]


@pytest.mark.parametrize(("how", "error_class"), [("invalid", "invalid_input"), ("conflict", "illegal_transition")])
async def test_what_another_attempt_would_not_mend_fails_at_once(shop: Shop, how: str, error_class: str) -> None:
    await shop.rule(note("first"), note("second", fails=1, how=how))
    await shop.pay()
    async with shop.working():
        [run] = await shop.ended()
        assert (run.status, run.attempt_count, run.error_class) == ("failed", 1, error_class)
        assert await shop.left() == []
        await shop.replay(ids=[run.run_id])
        [again] = await shop.ended(1, "completed")
    assert (again.replay_count, await shop.left()) == (1, ["first", "second"])


async def test_runs_are_counted_by_what_becomes_of_them(shop: Shop) -> None:
    def counted() -> dict[str, float]:
        return {status: RUNS.labels(status)._value.get() for status in (*ENDED, "pending")}

    before = counted()
    await shop.rule(note("x", fails=99), condition="event.payload.invoice > 0")
    await shop.rule(note("y", how="until_mended"), name="Another rule")
    await shop.rule(note("z"), name="A third rule")
    await shop.pay(0)
    await shop.pay(1)
    async with shop.working():
        await shop.ended(6)
    after = counted()
    assert {status: after[status] - before[status] for status in after} == {
        "completed": 2,
        "skipped": 1,
        "failed": 2,
        "dead_letter": 1,
        "pending": 2,
    }


async def test_one_run_that_fails_costs_none_of_those_that_share_its_transaction(shop: Shop) -> None:
    await shop.rule(note(cel("string(event.payload.invoice)"), fails=cel("event.payload.invoice == 5 ? 1 : 0")))
    for invoice in range(10):
        await shop.pay(invoice)
    async with shop.working():
        found = await shop.ended(10)
    assert {run.status for run in found} == {"completed"}
    assert await shop.left() == [str(invoice) for invoice in range(10)]


# Once ---------------------------------------------------------------------------------------------------------------


async def test_a_job_that_comes_again_does_nothing(shop: Shop) -> None:
    rule = await shop.rule(note())
    event_id = await shop.pay()
    args = {"event_id": str(event_id), "rule_id": str(rule.rule_id), "rule_version": 1}
    async with shop.database.transaction(shop.context) as tx:
        await enqueue_batch(tx, [NewJob(KIND, args)] * 20)
    async with shop.working():
        await no_jobs(shop)
        async with shop.database.transaction(shop.context) as tx:
            await enqueue_batch(tx, [NewJob(KIND, args)] * 5)
        await no_jobs(shop)
    [run] = await shop.runs()
    assert (run.status, await shop.left()) == ("completed", ["paid"])


@pytest.mark.parametrize(
    "args",
    [
        {},
        {"event_id": "x", "rule_id": "y", "rule_version": 1},
        {"event_id": str(uuid7()), "rule_id": str(uuid7()), "rule_version": "1"},
        {"event_id": str(uuid7()), "rule_id": str(uuid7()), "rule_version": 2**40},
        {"event_id": str(uuid7()), "rule_id": str(uuid7()), "rule_version": 1},
    ],
)
async def test_a_job_that_names_no_rule_fails_alone(shop: Shop, args: dict[str, Any]) -> None:
    await shop.rule(note())
    async with shop.database.transaction(shop.context) as tx:
        [bad] = await enqueue_batch(tx, [NewJob(KIND, args)])
    await shop.pay()
    async with shop.working():
        [run] = await shop.ended()
        await no_jobs(shop)
    assert run.status == "completed"
    assert await shop.rows("SELECT status FROM datalane.jobs WHERE id = $1", bad.job_id) == [("failed",)]


async def test_two_workers_that_hold_jobs_of_one_run_leave_its_effect_once(shop: Shop) -> None:
    """Both have decided before either writes; the run is the one's that took it up last."""
    rule = await shop.rule(note())
    event_id = await shop.pay()
    args = {"event_id": str(event_id), "rule_id": str(rule.rule_id), "rule_version": 1}
    async with shop.database.transaction(shop.context) as tx:
        await enqueue_batch(tx, [NewJob(KIND, args)])
    first, second = await claimed(shop)
    plans = [await shop.execution.prepare([job]) for job in (first, second)]
    for job, plan in zip((first, second), plans, strict=True):
        async with shop.database.transaction(Context.system(shop.context.workspace_id)) as tx:
            await shop.execution.apply(tx, [job], plan)
    assert await shop.left() == ["paid"]
    [run] = await shop.runs()
    assert (run.status, run.job_id) == ("completed", second.id)


async def test_a_run_whose_worker_was_lost_is_taken_up_by_the_next(shop: Shop) -> None:
    await shop.rule(note())
    await shop.pay()
    [job] = await claimed(shop)
    await shop.execution.prepare([job])
    assert [run.status for run in await shop.runs()] == ["running"]
    plan = await shop.execution.prepare([replace(job, lease_token=job.lease_token + 1)])
    async with shop.database.transaction(Context.system(shop.context.workspace_id)) as tx:
        await shop.execution.apply(tx, [job], plan)
    assert ([run.status for run in await shop.runs()], await shop.left()) == (["completed"], ["paid"])


async def test_a_run_ends_with_a_job_that_is_canceled(shop: Shop) -> None:
    await shop.rule(note("x", fails=9, how="invalid"))
    await shop.pay()
    async with shop.working():
        [run] = await shop.ended(1, "failed")
        async with shop.database.transaction(shop.context) as tx:
            assert await cancel_jobs(tx, [run.job_id]) == 1
        [run] = await shop.ended(1, "dead_letter")
    assert run.error_class == "invalid_input"


async def test_a_run_ends_with_its_canceled_job_at_the_limit_of_causes_too(shop: Shop) -> None:
    await shop.rule(note(), event_type="invoice.paid")
    await shop.rule(note("of the dead"), name="of the dead", event_type="job.dead_lettered")
    async with shop.database.transaction(shop.context.caused_by(uuid7(), 16)) as tx:
        await publish(tx, "invoice.paid", {"invoice": 7})
    async with shop.working():
        [run] = await shop.ended(1, "failed")
        async with shop.database.transaction(shop.context) as tx:
            assert await cancel_jobs(tx, [run.job_id]) == 1
        await shop.ended(1, "dead_letter")
        await no_jobs(shop)
    assert len(await shop.runs()) == 1


# What is asked when -------------------------------------------------------------------------------------------------


async def test_the_version_is_that_of_the_moment_of_the_event(shop: Shop) -> None:
    rule = await shop.rule(note("one"))
    before = await shop.pay()
    rule = await shop.publish_version(rule, note("two"), condition="event.payload.invoice > 0")
    after = await shop.pay()
    async with shop.working():
        found = await shop.ended(2)
    assert {run.event_id: run.rule_version for run in found} == {before: 1, after: 2}
    assert await shop.left() == ["one", "two"]


async def test_a_rule_that_was_disabled_stops_at_its_next_claim(shop: Shop) -> None:
    rule = await shop.rule(note())
    await shop.pay(1)
    rule = await shop.disable(rule)
    await shop.pay(2)
    async with shop.working():
        [run] = await shop.ended()
        assert (run.status, run.reason, await shop.left()) == ("skipped", "rule_disabled", [])
        await shop.enable(rule)
        await shop.pay(3)
        assert (await shop.ended(1, "completed"))[0].rule_version == 1
        await shop.replay(where={"status": "skipped"})
        assert len(await shop.ended(2, "completed")) == 2
    assert len(await shop.runs()) == 2, "an event that came while it was disabled left nothing"


async def test_the_switch_stops_every_rule_between_an_event_and_its_claim(shop: Shop) -> None:
    await shop.rule(note())
    await shop.pay(1)
    await shop.switch(False)
    await shop.pay(2)
    other = shop.elsewhere()
    await other.rule(note("elsewhere"))
    await other.pay()
    async with shop.working():
        found = await shop.ended(2)
        assert [(run.status, run.reason) for run in found] == [("skipped", "switched_off")] * 2
        assert [run.status for run in await other.ended()] == ["completed"]
        await shop.switch(True)
        assert (await shop.replay(where={"status": "skipped"}, dry_run=True)).matched == 2
        assert (await shop.replay(where={"status": "skipped"})).replayed == 2
        await shop.ended(2, "completed")
    assert await shop.left() == ["paid", "paid"]
    switched = await shop.rows(
        "SELECT after ->> 'enabled' FROM datalane.audit_records WHERE action = 'automation.switched' ORDER BY audit_id"
    )
    assert switched == [("false",), ("true",)]


async def test_an_event_that_is_gone_skips_its_run(shop: Shop, cluster: EmbeddedPostgres, urls: Prepared) -> None:
    await shop.rule(note("x", fails=1, how="invalid"))
    event_id = await shop.pay()
    async with shop.working():
        [run] = await shop.ended(1, "failed")
        with psycopg.connect(cluster.url(urlsplit(urls.database_url).path.removeprefix("/"))) as admin:
            admin.execute("DELETE FROM datalane.events WHERE event_id = %s", (event_id,))  # as retention does
        await shop.replay(ids=[run.run_id])
        [again] = await shop.ended(1, "skipped")
    assert again.reason == "event_gone"


# Loops --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", range(3))
async def test_a_rule_that_triggers_itself_stops_at_the_depth_of_causes(shop: Shop, turn: int) -> None:
    await shop.rule(("item.create", {"title": f"Turn {turn}"}), event_type="item.created")
    async with shop.database.transaction(shop.context) as tx:
        await publish(tx, "item.created", {"item_id": "the first", "version": 1})
    async with shop.working():
        found = await shop.ended(17)
        await no_jobs(shop)
    assert [run.status for run in found] == ["failed"] + ["completed"] * 16
    assert (found[0].error_class, found[0].causation_depth, found[0].attempt_count) == ("causation_depth", 16, 1)
    assert "limits.causation_depth" in (found[0].error_message or "")
    assert [each.status for each in found[0].actions] == ["not_run"]
    assert await shop.rows("SELECT count(*) FROM datalane.items") == [(16,)]


async def test_two_rules_that_trigger_one_another_stop_too(shop: Shop) -> None:
    await shop.rule(note("pong"), name="ping", condition="true")
    await shop.rule(("item.create", {"title": "ping"}), name="pong", event_type="note.left")
    await shop.rule(note("again"), name="again", event_type="item.created")
    await shop.pay()
    async with shop.working():
        await shop.ended(1, "failed")
        await no_jobs(shop)
    assert sorted(run.causation_depth for run in await shop.runs()) == list(range(17))


async def test_a_rule_over_dead_letters_whose_runs_always_fail_stops_too(shop: Shop) -> None:
    await shop.rule(note("x", fails=999), event_type="job.dead_lettered")
    async with shop.database.transaction(shop.context) as tx:
        job = await enqueue(tx, "reports")
        assert await cancel_jobs(tx, [job.job_id]) == 1
    async with shop.working():
        await shop.ended(1, "failed")
        await no_jobs(shop)
    found = await shop.runs()
    assert [(run.causation_depth, run.status) for run in found] == [
        (16, "failed"),
        *((depth, "dead_letter") for depth in range(15, 0, -1)),
    ]


# Walls --------------------------------------------------------------------------------------------------------------


async def test_an_event_of_another_workspace_starts_nothing_here(shop: Shop) -> None:
    other = shop.elsewhere()
    rule = await shop.rule(note("here"))
    await other.rule(note("there"))
    event_id = await other.pay()
    args = {"event_id": str(event_id), "rule_id": str(rule.rule_id), "rule_version": 1}
    async with shop.database.transaction(shop.context) as tx:
        await enqueue_batch(tx, [NewJob(KIND, args)])
    async with other.database.transaction(other.context) as tx:
        await enqueue_batch(tx, [NewJob(KIND, args)])
    async with shop.working():
        [run] = await other.ended()
        await no_jobs(shop)
        await no_jobs(other)
    assert (await shop.runs(), await shop.left()) == ([], [])
    assert await other.left() == ["there"]
    with pytest.raises(NotFound):
        await shop.replay(ids=[run.run_id])


async def test_a_member_writes_no_run_by_raw_sql(shop: Shop, database: Database) -> None:
    await shop.rule(note())
    await shop.pay()
    async with shop.working():
        await shop.ended()
    async with database.transaction(replace(shop.context, role=Role.MEMBER)) as tx:
        assert await tx.execute("UPDATE datalane.automation_runs SET status = 'pending', ended_at = NULL") == "UPDATE 0"
        assert await tx.execute("UPDATE datalane.automation_rules SET enabled = false") == "UPDATE 0"
