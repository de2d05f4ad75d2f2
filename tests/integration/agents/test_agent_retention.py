"""What agents were given and answered is forgotten after its time, and their runs after theirs."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from pydantic import SecretStr
from tests.conftest import a_context
from tests.integration.agents.desk import CREATE, PAY, SEARCH, TOOLS, LedgerDesk
from tests.integration.engine.lab import eventually

from datalane.agents.forgetting import Forgotten, forget_once
from datalane.agents.runs.schemas import NewStep
from datalane.contracts.context import Context, Role
from datalane.db.provision import Prepared
from datalane.domains import maintenance_duties
from datalane.engine.maintenance import run_maintenance
from datalane.errors import Forbidden, NotFound
from datalane.kit.clock import utc_now
from datalane.settings import Retention, Settings

KEPT = Retention()
NOTHING = Forgotten()
YOUNG, OLD, ANCIENT = (timedelta(days=days) for days in (89, 91, 401))
TABLES = ("agent_runs", "agent_steps", "tool_calls", "agent_transitions")


async def ended(desk: LedgerDesk, age: timedelta, tool: str = SEARCH, **said: Any) -> UUID:
    """A run with a step and a call, which ended so long ago."""
    run = await desk.hold(input="secret", **said)
    await desk.record(run, NewStep(kind="model", name="chat", input="secret", output="secret", input_tokens=7))
    call = await desk.ask(run, tool, {"q": "secret"}, idempotency_key=str(run.run_id))
    assert call.status == "executing", call.reason
    await desk.succeed(run, call.tool_call_id, "secret")
    await desk.end(run, output="secret", now=utc_now() - age)
    return run.run_id


async def left(desk: LedgerDesk) -> set[UUID]:
    """The runs that are there; whatever belongs to a run belongs to one of them."""
    runs = {row[0] for row in await desk.rows("SELECT run_id FROM datalane.agent_runs")}
    for table in TABLES:
        assert {row[0] for row in await desk.rows(f"SELECT run_id FROM datalane.{table}")} <= runs
    return runs


async def test_what_a_run_was_given_and_answered_goes_and_what_it_used_and_what_was_decided_stays(
    desk: LedgerDesk, maintenance: asyncpg.Connection
) -> None:
    run_id, young = await ended(desk, OLD), await ended(desk, YOUNG)
    before = await desk.show(run_id)
    assert not before.artifacts_forgotten
    assert await forget_once(maintenance, utc_now(), KEPT) == Forgotten(agent_artifacts=1)
    after = await desk.show(run_id)
    gone = {"input": None, "output": None}
    assert after == before.model_copy(
        update={
            **gone,
            "artifacts_forgotten": True,
            "steps": [each.model_copy(update=gone) for each in before.steps],
            "tool_calls": [each.model_copy(update={"arguments": None, "result": None}) for each in before.tool_calls],
        }
    )
    assert (after.input_tokens, after.tool_calls[0].rule_id) == (7, before.tool_calls[0].rule_id)
    stored = await desk.rows(
        "SELECT r::text || s::text || c::text FROM datalane.agent_runs r JOIN datalane.agent_steps s USING (run_id) "
        "JOIN datalane.tool_calls c USING (run_id) WHERE run_id = $1",
        run_id,
    )
    assert "secret" not in stored[0][0]
    assert (await desk.show(young)).input == "secret"
    assert await forget_once(maintenance, utc_now(), KEPT) == NOTHING


async def test_a_run_that_goes_on_keeps_everything_however_old_it_is(
    desk: LedgerDesk, maintenance: asyncpg.Connection
) -> None:
    run = await desk.hold(input="secret", now=utc_now() - ANCIENT)
    queued = (await desk.begin(runtime=None, input="secret", now=utc_now() - ANCIENT)).run_id
    assert await forget_once(maintenance, utc_now(), KEPT) == NOTHING
    assert [(await desk.show(each)).input for each in (run.run_id, queued)] == ["secret"] * 2


async def test_what_waits_for_a_person_is_kept_until_it_is_decided(
    desk: LedgerDesk, maintenance: asyncpg.Connection
) -> None:
    run = await desk.hold(input="secret")
    call = await desk.ask(run, PAY, {"amount": 3})
    at_once = Retention(agent_artifacts=timedelta(seconds=1), agent_runs=timedelta(seconds=1))
    later = utc_now() + timedelta(minutes=1)
    assert await forget_once(maintenance, later, at_once) == NOTHING
    following = await desk.resolve(call.tool_call_id, approve=True)
    assert following is not None
    assert await forget_once(maintenance, later, at_once) == Forgotten(agent_artifacts=1)
    assert (await desk.show(following)).input == "secret"
    taken = await desk.take(following)
    assert taken is not None
    again = await desk.ask(taken, PAY, {"amount": 3})
    assert again.status == "executing", "the approval is of the arguments' digest, which stays"


async def test_a_run_goes_whole_and_is_counted(
    desk: LedgerDesk, maintenance: asyncpg.Connection, other_context: Context
) -> None:
    other = LedgerDesk(desk.database, other_context)
    await other.publish(*TOOLS)
    kept = await ended(desk, OLD)
    for each in (desk, desk, other):
        await ended(each, ANCIENT)
    assert await forget_once(maintenance, utc_now(), KEPT) == Forgotten(agent_runs=3, agent_artifacts=1)
    assert (await left(desk), await left(other)) == ({kept}, set())
    assert await forget_once(maintenance, utc_now(), KEPT) == NOTHING


async def test_a_run_whose_time_is_over_goes_with_or_without_what_it_was_given(
    desk: LedgerDesk, maintenance: asyncpg.Connection
) -> None:
    await ended(desk, ANCIENT)
    await maintenance.fetchval("SELECT datalane.forget_agent_artifacts('1 day')")
    await ended(desk, ANCIENT)
    assert await maintenance.fetchval("SELECT datalane.forget_agent_runs('400 days')") == 2
    assert await left(desk) == set()


async def test_rounds_go_in_bites_and_have_an_end(desk: LedgerDesk, maintenance: asyncpg.Connection) -> None:
    for _ in range(5):
        await ended(desk, OLD)
    rounds = [(await forget_once(maintenance, utc_now(), KEPT, bite=2, bites=2)).agent_artifacts for _ in range(3)]
    assert rounds == [4, 1, 0]
    later = utc_now() + ANCIENT - OLD
    rounds = [(await forget_once(maintenance, later, KEPT, bite=2, bites=2)).agent_runs for _ in range(3)]
    assert rounds == [4, 1, 0]


async def test_what_ended_first_goes_first(desk: LedgerDesk, maintenance: asyncpg.Connection) -> None:
    late, early = await ended(desk, OLD), await ended(desk, OLD + timedelta(days=1))
    assert await maintenance.fetchval("SELECT datalane.forget_agent_artifacts('90 days', 1)") == 1
    assert [(await desk.show(each)).artifacts_forgotten for each in (early, late)] == [True, False]


async def test_a_run_stays_while_one_inside_it_does_and_goes_after_it(
    desk: LedgerDesk, maintenance: asyncpg.Connection
) -> None:
    root = await ended(desk, ANCIENT)
    middle = await ended(desk, ANCIENT, parent_run_id=root)
    young = await ended(desk, YOUNG, parent_run_id=middle)
    await ended(desk, ANCIENT, parent_run_id=root)
    alone = await ended(desk, ANCIENT)
    assert (await forget_once(maintenance, utc_now(), KEPT)).agent_runs == 2
    assert await left(desk) == {root, middle, young}
    assert alone not in await left(desk)
    assert (await forget_once(maintenance, utc_now() + ANCIENT, KEPT)).agent_runs == 3
    assert await left(desk) == set()


async def test_a_chain_goes_in_one_bite_from_its_end_and_a_bite_that_is_full_leaves_the_rest(
    desk: LedgerDesk, maintenance: asyncpg.Connection
) -> None:
    chain: list[UUID] = []
    for _ in range(6):
        chain.append(await ended(desk, ANCIENT, parent_run_id=chain[-1] if chain else None))
    assert await maintenance.fetchval("SELECT datalane.forget_agent_runs('400 days', 4)") == 4
    assert await left(desk) == set(chain[:2])
    assert await maintenance.fetchval("SELECT datalane.forget_agent_runs('400 days', 4)") == 2


async def test_runs_that_must_stay_hold_up_none_behind_them(desk: LedgerDesk, maintenance: asyncpg.Connection) -> None:
    for _ in range(3):
        parent = await ended(desk, ANCIENT + timedelta(days=1))
        await desk.hold(parent_run_id=parent)
    await ended(desk, ANCIENT)
    assert await maintenance.fetchval("SELECT datalane.forget_agent_runs('400 days', 1)") == 1


async def test_a_run_that_somebody_has_in_hand_waits_for_the_next_round(
    desk: LedgerDesk, maintenance: asyncpg.Connection
) -> None:
    held, _ = await ended(desk, ANCIENT), await ended(desk, ANCIENT)
    child = "SELECT run_id FROM datalane.begin_agent_run('inner', 'first', '1 minute', parent_run_id => $1)"
    async with desk.database.transaction(desk.context) as tx:
        [inner] = await tx.fetch(child, held)
        assert (await forget_once(maintenance, utc_now(), KEPT)).agent_runs == 1
    assert (await forget_once(maintenance, utc_now(), KEPT)).agent_runs == 0
    assert await left(desk) == {held, inner["run_id"]}


async def test_of_a_round_and_a_run_that_begins_inside_an_old_one_just_one_comes_first(
    desk: LedgerDesk, urls: Prepared
) -> None:
    """Whatever meets whatever: the child is there with its parent, or neither is."""
    parents = [await ended(desk, ANCIENT) for _ in range(20)]
    keepers = [await asyncpg.connect(urls.maintenance_url) for _ in range(2)]

    async def begin(parent: UUID) -> bool:
        try:
            await desk.begin(parent_run_id=parent)
        except (NotFound, asyncpg.ForeignKeyViolationError):
            return False
        return True

    async def forget(keeper: asyncpg.Connection) -> int:
        return sum([await keeper.fetchval("SELECT datalane.forget_agent_runs('400 days', 1)") for _ in range(10)])

    begun, gone = await asyncio.gather(
        asyncio.gather(*(begin(parent) for parent in parents)), asyncio.gather(*map(forget, keepers))
    )
    for keeper in keepers:
        await keeper.close()
    assert sum(begun) + sum(gone) <= len(parents)
    runs = await left(desk)
    assert {parent for parent, there in zip(parents, begun, strict=True) if there} <= runs
    assert len(runs & set(parents)) == len(parents) - sum(gone)


async def test_an_effect_is_kept_by_its_own_age(desk: LedgerDesk, maintenance: asyncpg.Connection) -> None:
    run_id = await ended(desk, ANCIENT, CREATE)
    assert await forget_once(maintenance, utc_now(), KEPT) == Forgotten(agent_runs=1)
    run = await desk.hold()
    again = await desk.ask(run, CREATE, {"q": "secret"}, idempotency_key=str(run_id))
    assert (again.is_replay, again.result) == (True, "secret")
    done = await forget_once(maintenance, utc_now() + ANCIENT, KEPT)
    assert done == Forgotten(agent_effects=1)
    anew = await desk.ask(run, CREATE, {"q": "secret"}, idempotency_key=str(run_id))
    assert not anew.is_replay


async def test_what_is_to_be_kept_for_longer_than_time_began_is_kept(
    desk: LedgerDesk, maintenance: asyncpg.Connection
) -> None:
    await ended(desk, ANCIENT, CREATE)
    ever = timedelta(days=365 * 200)
    kept = Retention(agent_artifacts=ever, agent_runs=ever, agent_effects=ever)
    assert await forget_once(maintenance, utc_now(), kept) == NOTHING


@pytest.mark.parametrize("verb", ["forget_agent_artifacts", "forget_agent_runs", "forget_agent_effects"])
async def test_nobody_in_a_workspace_forgets(desk: LedgerDesk, verb: str) -> None:
    with pytest.raises(Forbidden, match="permission denied"):
        await desk.acting(Role.OWNER).rows(f"SELECT datalane.{verb}('0 days')")


async def test_nobody_deletes_runs_of_their_choice(desk: LedgerDesk, maintenance: asyncpg.Connection) -> None:
    home, run_id = desk.context.workspace_id, await ended(desk, ANCIENT)
    with pytest.raises(Forbidden, match="permission denied"):
        await desk.acting(Role.OWNER).rows(
            "SELECT datalane.delete_agent_runs(ARRAY[$1::uuid], ARRAY[$2::uuid])", home, run_id
        )
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await maintenance.fetchval("SELECT datalane.delete_agent_runs(ARRAY[$1::uuid], ARRAY[$2::uuid])", home, run_id)


async def test_the_maintenance_process_forgets(desk: LedgerDesk, urls: Prepared) -> None:
    await ended(desk, ANCIENT)
    other = LedgerDesk(desk.database, a_context())
    await other.publish(*TOOLS)
    young = await ended(other, OLD)
    stop, settings = asyncio.Event(), Settings(maintenance_url=SecretStr(urls.maintenance_url))
    process = asyncio.create_task(run_maintenance(settings, stop, duties=maintenance_duties(settings)))

    async def forgotten() -> bool:
        return await left(desk) == set() and (await other.show(young)).artifacts_forgotten

    assert await eventually(forgotten)
    stop.set()
    await process
