"""Moderations are written by their verb alone, for a run that is held, and go with it."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest
from tests.integration.agents.desk import SEARCH, LedgerDesk

from datalane.agents.forgetting import forget_once
from datalane.agents.runs.schemas import HeldRun
from datalane.agents.safety.judging import Judged
from datalane.agents.safety.looking import list_moderations
from datalane.agents.safety.recording import record_moderation
from datalane.contracts.context import Context, Role
from datalane.errors import Forbidden, InvalidInput, LeaseLost, NotFound
from datalane.kit.clock import utc_now
from datalane.settings import Retention

ALLOWED = Judged("input", "allowed", "words 1.2")
RECORD = "SELECT datalane.record_agent_moderation($1, $2, $3, $4, $5, $6)"


async def record(desk: LedgerDesk, run: HeldRun, judged: Judged = ALLOWED) -> UUID:
    async with desk.database.transaction(desk.context) as tx:
        return await record_moderation(tx, run, judged)


async def test_nobody_writes_a_moderation_by_hand(desk: LedgerDesk) -> None:
    await record(desk, await desk.hold())
    for statement in (
        "INSERT INTO datalane.agent_moderations (workspace_id) VALUES (app.workspace_id())",
        "UPDATE datalane.agent_moderations SET outcome = 'allowed'",
        "DELETE FROM datalane.agent_moderations",
    ):
        with pytest.raises(Forbidden, match="permission denied"):
            await desk.acting(Role.OWNER).rows(statement)


async def test_a_viewer_reads_moderations_and_records_none_also_by_sql(desk: LedgerDesk) -> None:
    run = await desk.hold()
    viewer = desk.acting(Role.VIEWER)
    with pytest.raises(Forbidden):
        await record(viewer, run)
    with pytest.raises(Forbidden, match="it takes member"):
        await viewer.rows(RECORD, run.run_id, run.lease_token, "input", "allowed", "me", None)
    made = await record(desk, run)
    async with desk.database.transaction(viewer.context) as tx:
        assert [each.moderation_id for each in (await list_moderations(tx)).data] == [made]


async def test_a_late_runtime_records_nothing_and_takes_nothing_away(desk: LedgerDesk) -> None:
    run = await desk.hold(input="Herons?")
    late = HeldRun(run_id=run.run_id, lease_token=run.lease_token + 1)
    with pytest.raises(LeaseLost):
        await record(desk, late, Judged("input", "refused", "words 1.2", "rude"))
    await desk.end(run)
    with pytest.raises(LeaseLost):
        await record(desk, run, Judged("input", "refused", "words 1.2", "rude"))
    told = await desk.show(run.run_id)
    assert (told.input, told.moderations) == ("Herons?", [])


async def test_a_run_of_another_workspace_and_a_call_of_another_run_are_not_there(
    desk: LedgerDesk, other_context: Context
) -> None:
    run, beside = await desk.hold(), await desk.hold()
    call = await desk.ask(beside, SEARCH)
    await record(desk, run)
    other = LedgerDesk(desk.database, other_context)
    with pytest.raises(NotFound):
        await record(other, run)
    async with desk.database.transaction(other_context) as tx:
        assert (await list_moderations(tx)).data == []
        assert (await list_moderations(tx, run.run_id)).data == []
    for tool_call_id in (call.tool_call_id, uuid4()):
        with pytest.raises(NotFound, match="no such tool call"):
            async with desk.database.transaction(desk.context) as tx:
                await record_moderation(tx, run, ALLOWED, tool_call_id=tool_call_id)


async def test_what_is_no_moderation_is_refused_in_raw_sql(desk: LedgerDesk) -> None:
    run = await desk.hold()
    for said in (
        ("thoughts", "allowed", "me", None),
        ("input", "perhaps", "me", None),
        ("input", "refused", "me", None),
        ("input", "allowed", "", None),
        ("input", "flagged", "me", "x" * 101),
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            await desk.rows(RECORD, run.run_id, run.lease_token, *said)
    assert (await desk.show(run.run_id)).moderations == []


async def test_lists_are_paged_and_narrowed(desk: LedgerDesk) -> None:
    first, second = await desk.hold(), await desk.hold()
    made = [await record(desk, run) for run in (first, second, first)]
    made.append(await record(desk, first, Judged("output", "flagged", "words 1.2", "odd")))
    async with desk.database.transaction(desk.context) as tx:
        page = await list_moderations(tx, page_size=3)
        rest = await list_moderations(tx, cursor=page.next_cursor, page_size=3)
        of_first = await list_moderations(tx, first.run_id, "allowed")
        with pytest.raises(InvalidInput):
            await list_moderations(tx, first.run_id, cursor=page.next_cursor)
    assert [each.moderation_id for each in (*page.data, *rest.data)] == made[::-1]
    assert rest.next_cursor is None
    assert [each.moderation_id for each in of_first.data] == [made[2], made[0]]


async def test_moderations_go_with_their_run(desk: LedgerDesk, maintenance: asyncpg.Connection) -> None:
    old, young = await desk.hold(), await desk.hold()
    for run in (old, young):
        await record(desk, run)
    await desk.end(old, now=utc_now() - timedelta(days=401))
    forgotten = await forget_once(maintenance, utc_now(), Retention())
    assert forgotten.agent_runs == 1
    assert await desk.rows("SELECT run_id FROM datalane.agent_moderations") == [(young.run_id,)]
