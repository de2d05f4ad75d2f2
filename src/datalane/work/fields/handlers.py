"""The jobs that build and take down the indexes of fields."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from datalane.db.transaction import Transaction
from datalane.engine.handlers import Handler, Handlers, Job, Mode
from datalane.work.fields.building import DROP_INDEX, INDEX_FIELD, drop_batch, index_batch


def register(handlers: Handlers) -> None:
    """Add the handlers of fields.

    Each job has a transaction of its own: who writes items locks them by id, and two batches in one transaction would
    lock theirs in another order.
    """
    handlers.add(Handler(INDEX_FIELD, Mode.STAGED, _alone(index_batch), prepare=_nothing, batch=1))
    handlers.add(Handler(DROP_INDEX, Mode.STAGED, _alone(drop_batch), prepare=_nothing, batch=1))


async def _nothing(jobs: Sequence[Job]) -> list[None]:
    return [None] * len(jobs)


def _alone(
    batch: Callable[[Transaction, dict[str, Any]], Awaitable[None]],
) -> Callable[[Transaction, Sequence[Job], Sequence[Any]], Awaitable[None]]:
    async def apply(tx: Transaction, jobs: Sequence[Job], prepared: Sequence[Any]) -> None:
        (job,) = jobs
        # Its next batch is caused by what caused the first one, not by another link of a chain, which has an end.
        context = job.context.caused_by(job.causation_id, job.causation_depth)
        await batch(tx.acting_as(context), job.args)

    return apply
