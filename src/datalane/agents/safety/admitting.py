"""Beginning, taking up and ending runs whose contents were judged before their transaction was opened."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from datalane.agents.budgets.admitting import admit_begun
from datalane.agents.permissions import RECORD_RUNS
from datalane.agents.runs import recording
from datalane.agents.runs.schemas import BegunRun, EndedRun, HeldRun, NewRun, RunEnd, TakenRun
from datalane.agents.safety.judging import Judged
from datalane.agents.safety.recording import record_moderation
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.meters import Meters
from datalane.engine.suppression import Suppressor

_queries = load_queries(__file__)


async def begin_judged(
    tx: Transaction, meters: Meters, new: NewRun, judged: Judged | None, now: datetime | None = None
) -> BegunRun:
    """As `begin_admitted`. One whose input does not pass is begun without it, and has ended when it is answered.

    `judged` is None of a run that is queued: its input is judged when it is taken up.
    """
    kept = new if judged is None or judged.passes else new.model_copy(update={"input": None})
    begun = await recording.begin_run(tx, kept, now)
    if begun.lease_token is None:
        return begun
    if judged is not None:
        held = HeldRun(run_id=begun.run_id, lease_token=begun.lease_token)
        await record_moderation(tx, held, judged, now=now)
        if not judged.passes:
            await end_unfit(tx, held, judged, now)
            return begun.model_copy(update={"lease_token": None, "refused": judged.message})
    return await admit_begun(tx, meters, begun, now)


async def settle_taken(
    tx: Transaction, taken: TakenRun, judged: Judged | None, now: datetime | None = None
) -> TakenRun:
    """A run that was taken up before, now that its input is judged: one that does not pass has ended."""
    if judged is None or taken.lease_token is None:
        return taken
    held = HeldRun(run_id=taken.run_id, lease_token=taken.lease_token)
    await record_moderation(tx, held, judged, now=now)
    if judged.passes:
        return taken
    await end_unfit(tx, held, judged, now)
    return taken.model_copy(update={"lease_token": None, "refused": judged.message})


async def end_unfit(tx: Transaction, held: HeldRun, judged: Judged, now: datetime | None = None) -> EndedRun:
    """End a run whose input or output does not pass."""
    status, error_class = judged.ending
    end = RunEnd(**_only_held(held), status=status, error_class=error_class, error_message=judged.message)
    return await recording.end_run(tx, end, now)


async def end_judged(
    tx: Transaction, end: RunEnd, judged: Judged | None, citations: Suppressor | None, now: datetime | None = None
) -> EndedRun:
    """As `end_run`. One whose output does not pass ends without it."""
    if judged is None:
        return await recording.end_run(tx, end, now)
    await record_moderation(tx, HeldRun(**_only_held(end)), judged, citations, now=now)
    if judged.passes:
        return await recording.end_run(tx, end, now)
    ended = await end_unfit(tx, end, judged, now)
    return ended.model_copy(update={"refused": judged.message})


async def read_unjudged_input(tx: Transaction, run_id: UUID) -> Any:
    """What the run was given, as it is kept; None where that was judged before, or is nothing."""
    RECORD_RUNS.check(tx.context)
    row = await _queries.get_unjudged_input(tx.connection, workspace_id=tx.workspace_id, run_id=run_id)
    return None if row is None else row["input"]


def _only_held(run: HeldRun) -> dict[str, Any]:
    return {"run_id": run.run_id, "lease_token": run.lease_token}
