"""Jobs that take up queued runs of the lane's own agents."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from datalane.db.transaction import Transaction
from datalane.engine.jobs import enqueue

ASSISTANT: Final = "assistant"
ASSISTANT_JOB: Final = "agents.assistant"
_KINDS = {ASSISTANT: ASSISTANT_JOB}


async def leave_job(tx: Transaction, run_id: UUID, agent: str) -> None:
    """A job for the run, where the lane itself runs this agent; others are taken up by their own runtimes."""
    kind = _KINDS.get(agent)
    if kind is not None:
        run = str(run_id)
        await enqueue(tx.following(), kind, {"run_id": run}, subject_id=run, idempotency_key=f"{kind}:{run}")
