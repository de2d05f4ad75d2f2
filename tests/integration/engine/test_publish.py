"""Publish: dedupe, fan-out, limits, and all-or-nothing with the caller's transaction."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.integration.engine.lab import START, Lab, Undone, after, ranked, undo

from datalane.contracts.context import Context, Role
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.db.faults import translated
from datalane.engine.events import NewEvent, get_event, publish, publish_batch
from datalane.engine.jobs import list_jobs
from datalane.errors import Forbidden, InvalidInput, LimitExceeded, SchemaViolation
from datalane.kit.ids import uuid7

INGESTION = """
SELECT event_id, ingestion_status, source_event_id FROM datalane.event_ingestion ORDER BY received_at, ingestion_id
"""


async def published_at(lab: Lab, context: Context, now: Any, *source_ids: str | None) -> list[tuple[Any, str]]:
    """Publish through the SQL verb at a given time; answers (event id, status) of each."""
    async with lab.database.transaction(context) as tx:
        rows = await tx.fetch(
            """SELECT event_id, ingestion_status FROM datalane.publish_batch(
                   $1, $2, $3, source_event_ids => $4, now => $5) ORDER BY ordinal""",
            *(
                ["thing.happened"] * len(source_ids),
                [1] * len(source_ids),
                [{}] * len(source_ids),
                list(source_ids),
                now,
            ),
        )
    return [(row["event_id"], row["ingestion_status"]) for row in rows]


async def test_an_event_is_stored_with_its_whole_envelope(lab: Lab, context: Context) -> None:
    cause = uuid7()
    caused = context.caused_by(cause, 3)
    async with lab.database.transaction(caused) as tx:
        published = await publish(tx, "invoice.paid", {"invoice": 7}, source_event_id="inv-7", subject_id="s1")
        event = await get_event(tx, published.event_id)
    assert published.accepted
    assert event is not None
    assert (event.event_type, event.version, event.payload) == ("invoice.paid", 1, {"invoice": 7})
    assert (event.source_system, event.source_event_id, event.subject_id) == ("datalane", "inv-7", "s1")
    assert (event.actor_id, event.correlation_id) == (context.actor_id, context.correlation_id)
    assert (event.causation_id, event.causation_depth) == (cause, 3)
    assert (event.signature_verified, event.ingestion_status) == (False, "accepted")
    assert event.received_at >= event.occurred_at


async def test_an_event_of_another_workspace_is_not_there(lab: Lab, context: Context, other_context: Context) -> None:
    async with lab.database.transaction(context) as tx:
        published = await publish(tx, "thing.happened", {})
    async with lab.database.transaction(other_context) as tx:
        assert await get_event(tx, published.event_id) is None


async def test_a_duplicate_has_no_effect_but_stays_visible_with_the_first_id(lab: Lab, context: Context) -> None:
    await lab.handle("thing.happened", "on_thing")
    async with lab.database.transaction(context) as tx:
        first = await publish(tx, "thing.happened", {}, source_event_id="a")
    async with lab.database.transaction(context) as tx:
        second = await publish(tx, "thing.happened", {"other": "body"}, source_event_id="a")
        jobs = await list_jobs(tx, kind="on_thing")
    assert (second.event_id, second.status) == (first.event_id, "duplicate")
    assert len(jobs) == 1
    assert await lab.count(context, "datalane.events") == 1
    assert [tuple(row) for row in await lab.rows(context, INGESTION)] == [
        (first.event_id, "accepted", "a"),
        (first.event_id, "duplicate", "a"),
    ]


async def test_duplicates_inside_one_batch_are_one_event(lab: Lab, context: Context) -> None:
    answers = await published_at(lab, context, START, "a", "b", "a", None, None, "a")
    assert [status for _, status in answers] == [
        "accepted",
        "accepted",
        "duplicate",
        "accepted",
        "accepted",
        "duplicate",
    ]
    assert answers[2][0] == answers[5][0] == answers[0][0]
    assert await lab.count(context, "datalane.events") == 4
    assert await lab.count(context, "datalane.event_ingestion") == 6


async def test_the_same_source_id_of_another_system_or_workspace_is_another_event(
    lab: Lab, context: Context, other_context: Context
) -> None:
    async with lab.database.transaction(context) as tx:
        one = await publish(tx, "thing.happened", {}, source_system="stripe", source_event_id="a")
        two = await publish(tx, "thing.happened", {}, source_system="github", source_event_id="a")
    async with lab.database.transaction(other_context) as tx:
        three = await publish(tx, "thing.happened", {}, source_system="stripe", source_event_id="a")
    assert one.accepted
    assert two.accepted
    assert three.accepted


async def test_a_source_id_is_new_again_once_its_window_has_passed(lab: Lab, context: Context) -> None:
    day = 86_400.0
    ((first, _),) = await published_at(lab, context, START, "a")
    assert await published_at(lab, context, after(29 * day), "a") == [(first, "duplicate")]
    late = await published_at(lab, context, after(31 * day), "a", "a")
    assert [status for _, status in late] == ["accepted", "duplicate"]
    assert late[0][0] == late[1][0] != first
    assert await published_at(lab, context, after(60 * day), "a") == [(late[0][0], "duplicate")]


async def test_concurrent_publishers_of_one_source_id_make_one_event(lab: Lab, context: Context) -> None:
    await lab.handle("thing.happened", "on_thing")

    async def deliver() -> str:
        async with lab.database.transaction(context) as tx:
            return (await publish(tx, "thing.happened", {}, source_event_id="a")).status

    statuses = await asyncio.gather(*(deliver() for _ in range(8)))
    assert sorted(statuses) == ["accepted"] + ["duplicate"] * 7
    assert await lab.count(context, "datalane.jobs") == 1


async def test_the_second_waits_for_the_first_and_wins_when_that_rolls_back(lab: Lab, context: Context) -> None:
    undo = asyncio.Event()
    held = asyncio.Event()

    async def first() -> None:
        async with lab.database.transaction(context) as tx:
            await publish(tx, "thing.happened", {}, source_event_id="a")
            held.set()
            await undo.wait()
            raise RuntimeError("undone")

    async def second() -> str:
        async with lab.database.transaction(context) as tx:
            return (await publish(tx, "thing.happened", {}, source_event_id="a")).status

    task = asyncio.create_task(first())
    await held.wait()
    waiting = asyncio.create_task(second())
    await lab.blocked_backend()
    undo.set()
    with pytest.raises(RuntimeError):
        await task
    assert await waiting == "accepted"
    assert await lab.count(context, "datalane.events") == 1


async def test_everything_goes_when_the_caller_rolls_back(lab: Lab, context: Context) -> None:
    await lab.handle("thing.happened", "on_thing")
    with pytest.raises(Undone):
        await undo(lab.database, context, lambda tx: publish(tx, "thing.happened", {}, source_event_id="a"))
    for table in ("events", "event_ingestion", "jobs"):
        assert await lab.count(context, f"datalane.{table}") == 0
    assert [status for _, status in await published_at(lab, context, START, "a")] == ["accepted"]


async def test_a_wrong_event_of_a_batch_stores_none(lab: Lab, context: Context) -> None:
    with pytest.raises(SchemaViolation):
        async with lab.database.transaction(context) as tx:
            await publish_batch(tx, [NewEvent("invoice.paid", {"invoice": 1}), NewEvent("invoice.paid", {})])
    assert await lab.count(context, "datalane.events") == 0


async def test_fan_out_makes_one_job_a_subscription_and_a_global_handler(
    lab: Lab, context: Context, other_context: Context
) -> None:
    await lab.handle("thing.happened", "for_everybody")
    async with lab.database.transaction(context) as tx:
        for kind, enabled in (("mine", True), ("switched_off", False)):
            await tx.execute(
                """INSERT INTO datalane.subscriptions (workspace_id, event_type, kind, args, enabled)
                   VALUES ($1, 'thing.happened', $2, '{"colour": "blue"}', $3)""",
                *(context.workspace_id, kind, enabled),
            )
        event = await publish(tx, "thing.happened", {}, subject_id="s1")
        jobs = {job.kind: job for job in await list_jobs(tx)}
    assert set(jobs) == {"for_everybody", "mine"}
    assert jobs["mine"].args == {"colour": "blue", "event_id": str(event.event_id)}
    assert jobs["for_everybody"].args == {"event_id": str(event.event_id)}
    assert {job.correlation_id for job in jobs.values()} == {context.correlation_id}
    assert {job.subject_id for job in jobs.values()} == {"s1"}
    async with lab.database.transaction(other_context) as tx:
        await publish(tx, "thing.happened", {})
        assert [job.kind for job in await list_jobs(tx)] == ["for_everybody"]


async def test_jobs_of_an_ordered_handler_queue_up_per_subject(lab: Lab, context: Context) -> None:
    await lab.handle("thing.happened", "in_order", ordered=True)
    async with lab.database.transaction(context) as tx:
        events = await publish_batch(
            tx, [NewEvent("thing.happened", {}, subject_id=subject) for subject in ("a", "b", "a", "a", "b")]
        )
    order = {str(event.event_id): place for place, event in enumerate(events)}
    ran: list[tuple[str | None, int]] = []
    while jobs := await lab.claim("in_order", now=None):
        ran += [(job.order_key, order[job.args["event_id"]]) for job in jobs]
        assert len({job.order_key for job in jobs}) == len(jobs)
        await lab.finish(*jobs, now=None)
    assert [place for key, place in ran if key == "in_order:a"] == [0, 2, 3]
    assert [place for key, place in ran if key == "in_order:b"] == [1, 4]


async def test_a_schema_violation_names_the_fields(lab: Lab, context: Context) -> None:
    with pytest.raises(SchemaViolation, match=r"invoice\.paid") as caught:
        async with lab.database.transaction(context) as tx:
            await publish(tx, "invoice.paid", {"invoice": "seven"})
    assert [fault["field"] for fault in caught.value.errors] == ["invoice"]


async def test_a_missing_field_is_named_in_the_message(lab: Lab, context: Context) -> None:
    with pytest.raises(SchemaViolation) as caught:
        async with lab.database.transaction(context) as tx:
            await publish(tx, "invoice.paid", {})
    assert "invoice" in caught.value.errors[0]["message"]


def nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("payload", "error", "words"),
    [
        ({"a": "x" * 262_144}, LimitExceeded, "262,144"),
        (nested(33), LimitExceeded, "deeper than the limit of 32"),
        ({"a": "nul \x00 inside"}, InvalidInput, "NUL"),
        ({"a": "\ud800"}, InvalidInput, "JSON"),
        ({"a": 2**64}, InvalidInput, "JSON"),
        ({"a": object()}, InvalidInput, "JSON"),
        ({1: "a"}, InvalidInput, "JSON"),
    ],
)
async def test_a_payload_the_lane_cannot_hold_is_refused(
    lab: Lab, context: Context, payload: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        async with lab.database.transaction(context) as tx:
            await publish(tx, "thing.happened", payload)
    assert await lab.count(context, "datalane.events") == 0


async def test_a_payload_at_the_limits_is_stored(lab: Lab, context: Context) -> None:
    async with lab.database.transaction(context) as tx:
        wide = await publish(tx, "thing.happened", {"a": "x" * (262_144 - 8)})
        deep = await publish(tx, "thing.happened", nested(32))
        many = await publish(tx, "thing.happened", {"a": [1] * 131_068})
    assert wide.accepted
    assert deep.accepted
    assert many.accepted


async def test_the_sql_verb_holds_the_size_limit_too(lab: Lab, context: Context) -> None:
    with pytest.raises(LimitExceeded, match="262144 bytes"):
        async with lab.database.transaction(context) as tx:
            await tx.execute("SELECT datalane.publish('thing.happened', $1)", {"a": "x" * 600_000})


async def test_times_and_ids_in_a_payload_are_checked_as_the_text_they_become(lab: Lab, context: Context) -> None:
    EVENTS.register("thing.dated", {"type": "object", "properties": {"at": {"type": "string"}}})
    await lab.register()
    async with lab.database.transaction(context) as tx:
        published = await publish(tx, "thing.dated", {"at": START, "id": context.actor_id, "pair": (1, 2)})
        event = await get_event(tx, published.event_id)
    assert event is not None
    assert event.payload == {"at": "2030-01-01T00:00:00+00:00", "id": str(context.actor_id), "pair": [1, 2]}


@pytest.mark.parametrize("version", [1, 2])
async def test_an_unregistered_type_is_refused(lab: Lab, context: Context, version: int) -> None:
    name = "thing.happened" if version == 2 else "never.heard_of"
    with pytest.raises(InvalidInput, match=f"{name} version {version} is not registered"):
        async with lab.database.transaction(context) as tx:
            await publish(tx, name, {}, version=version)


async def test_the_sql_verb_refuses_an_unregistered_type_too(lab: Lab, context: Context) -> None:
    with pytest.raises(InvalidInput, match=r"never\.heard_of version 1 is not registered"):
        async with lab.database.transaction(context) as tx:
            await tx.execute("SELECT datalane.publish('never.heard_of', '{}')")


async def test_a_viewer_may_not_publish(lab: Lab, context: Context) -> None:
    with pytest.raises(Forbidden, match="member"):
        async with lab.database.transaction(ranked(context, Role.VIEWER)) as tx:
            await publish(tx, "thing.happened", {})


async def test_without_a_workspace_nothing_is_published(lab: Lab) -> None:
    connection = await lab.database.direct_connection(lab.database.roles.app)
    try:
        with pytest.raises(Forbidden, match="no workspace"), translated():
            await connection.execute("SELECT datalane.publish('thing.happened', '{}')")
    finally:
        await connection.close()


async def test_a_chain_of_causes_ends_at_the_limit(lab: Lab, context: Context) -> None:
    async with lab.database.transaction(context.caused_by(uuid7(), 16)) as tx:
        assert (await publish(tx, "thing.happened", {})).accepted
    with pytest.raises(LimitExceeded, match="causation depth 17"):
        async with lab.database.transaction(context.caused_by(uuid7(), 17)) as tx:
            await publish(tx, "thing.happened", {})


async def test_a_batch_over_the_limit_is_refused(lab: Lab, context: Context) -> None:
    with pytest.raises(LimitExceeded, match="1,001 events"):
        async with lab.database.transaction(context) as tx:
            await publish_batch(tx, [NewEvent("thing.happened", {})] * 1_001)
    async with lab.database.transaction(context) as tx:
        assert await publish_batch(tx, []) == []
        assert len(await publish_batch(tx, [NewEvent("thing.happened", {})] * 1_000)) == 1_000


async def test_a_refused_delivery_stays_in_sight_and_has_no_other_effect(lab: Lab, context: Context) -> None:
    async with lab.database.transaction(context) as tx:
        await tx.execute(
            "SELECT datalane.record_rejection('thing.happened', 'stripe', 'a', 'rejected_signature', 'no signature')"
        )
    assert [row["ingestion_status"] for row in await lab.rows(context, INGESTION)] == ["rejected_signature"]
    assert await lab.count(context, "datalane.events") == 0
    with pytest.raises(InvalidInput, match="duplicate_suspected, not accepted"):
        async with lab.database.transaction(context) as tx:
            await tx.execute("SELECT datalane.record_rejection('thing.happened', 'stripe', 'b', 'accepted', '')")


async def test_occurred_at_is_the_sources_own_time(lab: Lab, context: Context) -> None:
    long_ago = START - timedelta(days=9_000)
    async with lab.database.transaction(context) as tx:
        published = await publish(tx, "thing.happened", {}, occurred_at=long_ago)
        event = await get_event(tx, published.event_id)
    assert event is not None
    assert event.occurred_at == long_ago


async def test_two_publishers_of_ordered_subjects_in_opposite_order_do_not_deadlock(lab: Lab, context: Context) -> None:
    await lab.handle("thing.happened", "in_order", ordered=True)
    subjects = [str(number) for number in range(20)]

    async def deliver(names: list[str]) -> None:
        async with lab.database.transaction(replace(context)) as tx:
            await publish_batch(tx, [NewEvent("thing.happened", {}, subject_id=name) for name in names])

    await asyncio.gather(*(deliver(subjects if turn % 2 else subjects[::-1]) for turn in range(8)))
    assert await lab.count(context, "datalane.events") == 160


async def test_any_database_role_without_the_door_is_refused(database: Database) -> None:
    connection = await database.direct_connection()
    try:
        with pytest.raises(Exception, match="permission denied"):
            await connection.execute("SELECT datalane.publish('thing.happened', '{}')")
    finally:
        await connection.close()
