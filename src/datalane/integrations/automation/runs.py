"""Looking at runs, and having them taken up again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from datalane.contracts.replay import Replayed
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.audit import record
from datalane.engine.jobs import enqueue, replay_jobs, retry_jobs
from datalane.errors import Conflict, LimitExceeded, NotFound
from datalane.integrations.automation.schemas import (
    ActionOutcome,
    AutomationRun,
    AutomationRunPage,
    AutomationRunWithActions,
    RunChoice,
    RunStatus,
    RunsToReplay,
)
from datalane.integrations.automation.service import KIND
from datalane.integrations.automation.states import REPLAYABLE, RUN
from datalane.integrations.permissions import READ_AUTOMATION, REPLAY_RUNS

_queries = load_queries(__file__, "runs.sql")


@dataclass(frozen=True, slots=True)
class RunFilter:
    """What the list is narrowed to; None is everything."""

    rule_id: UUID | None = None
    event_id: UUID | None = None
    status: RunStatus | None = None


async def get_run(tx: Transaction, run_id: UUID) -> AutomationRunWithActions:
    """Raises `NotFound`."""
    READ_AUTOMATION.check(tx.context)
    row = await _queries.get_run(tx.connection, workspace_id=tx.workspace_id, run_id=run_id)
    if row is None:
        raise NotFound("no such run")
    said = {name: row[name] for name in AutomationRun.model_fields}
    return AutomationRunWithActions(**said, actions=[ActionOutcome(**outcome) for outcome in row["outcomes"]])


async def list_runs(
    tx: Transaction, asked: RunFilter, cursor: str | None = None, page_size: int = 25
) -> AutomationRunPage:
    """Runs, the newest first. Raises `InvalidInput` for a cursor that is not this list's."""
    READ_AUTOMATION.check(tx.context)
    listing = f"automation runs:{asked}"
    rows = await _queries.list_runs(
        tx.connection,
        workspace_id=tx.workspace_id,
        rule_id=asked.rule_id,
        event_id=asked.event_id,
        status=asked.status,
        before=tx.read_id_cursor(listing, cursor),
        page_size=page_size + 1,
    )
    page, following = tx.cut_page(listing, rows, page_size, lambda row: [row["run_id"]])
    return AutomationRunPage(data=[AutomationRun(**row) for row in page], page_size=page_size, next_cursor=following)


async def replay_runs(tx: Transaction, choice: RunChoice) -> Replayed:
    """Have runs taken up again, by the version of their rule that they were pinned to.

    One that completed is never replayed: its actions have had their effect. Up to `limits.batch` in one call. Raises
    `NotFound` for an id that names no run, `IllegalTransition` for a run that has not failed or been skipped.
    """
    REPLAY_RUNS.check(tx.context)
    tx = tx.following()
    found, matched = await _named_or_found(tx, choice)
    if choice.dry_run:
        return Replayed.counted(matched)
    rows = await _queries.lock_named(tx.connection, workspace_id=tx.workspace_id, run_ids=found)
    if choice.where is not None:  # what came to another status meanwhile does not match any more
        rows = [row for row in rows if row["status"] == choice.where.status]
    if not rows:
        return Replayed.done(matched, tx.limits.batch, [])
    held = {row["run_id"] for row in rows}
    ids = [run_id for run_id in found if run_id in held]
    done = await _queries.put_back(tx.connection, workspace_id=tx.workspace_id, run_ids=ids, sources=[*REPLAYABLE])
    if done != f"UPDATE {len(ids)}":
        raise Conflict("a run changed meanwhile; look again")
    await _start_jobs(tx, rows)
    said = {} if choice.where is None else choice.where.model_dump(mode="json", exclude_none=True)
    only = ids[0] if len(ids) == 1 else None
    await record(tx, "automation_runs.replayed", "automation_run", only, after={"runs": len(ids), **said})
    return Replayed.done(matched, tx.limits.batch, ids)


async def _named_or_found(tx: Transaction, choice: RunChoice) -> tuple[list[UUID], int]:
    """The ids of the runs that a call takes, and how many there are."""
    if choice.ids is None:
        assert choice.where is not None
        return await _find(tx, choice.where)
    wanted = list(dict.fromkeys(choice.ids))
    if len(wanted) > tx.limits.batch:
        raise LimitExceeded(f"{len(wanted):,} runs in one call, the limit is {tx.limits.batch:,} (limits.batch)")
    rows = await _queries.lock_named(tx.connection, workspace_id=tx.workspace_id, run_ids=wanted)
    if len(rows) < len(wanted):
        raise NotFound("no such run")
    for row in rows:
        RUN.check(row["status"], "pending")
        if row["status"] not in REPLAYABLE:
            raise Conflict(f"a run that is {row['status']} is not replayed; it is not over yet")
    return wanted, len(wanted)


async def _find(tx: Transaction, where: RunsToReplay) -> tuple[list[UUID], int]:
    said = {"workspace_id": tx.workspace_id, **where.model_dump()}
    matched: int = await _queries.count_replayable(tx.connection, **said)
    rows = await _queries.find_replayable(tx.connection, **said, most=tx.limits.batch)
    return [row["run_id"] for row in rows], matched


async def _start_jobs(tx: Transaction, rows: Sequence[Any]) -> None:
    """A failed job is retried in place and a dead letter replayed; for what was skipped, or whose job is gone, a new
    one is enqueued with the actor and the cause of the first."""
    failed = [row["job_id"] for row in rows if row["job_status"] == "failed"]
    dead = [row["job_id"] for row in rows if row["job_status"] == "dead_letter" and row["replayed_by"] is None]
    if failed:
        await retry_jobs(tx, failed)
    if dead:
        await replay_jobs(tx, dead)
    known = {*failed, *dead}
    for row in rows:
        if row["job_id"] not in known:
            await _enqueue_anew(tx, row)


async def _enqueue_anew(tx: Transaction, row: Any) -> None:
    cause = replace(
        tx.context,
        actor_id=row["actor_id"],
        correlation_id=row["correlation_id"],
        causation_id=row["event_id"],
        causation_depth=row["causation_depth"],
    )
    args = {"event_id": str(row["event_id"]), "rule_id": str(row["rule_id"]), "rule_version": row["rule_version"]}
    key = f"replay:{row['run_id']}:{row['replay_count'] + 1}"
    await enqueue(tx.acting_as(cause), KIND, args, idempotency_key=key)
