"""The jobs of demo access: signed signals that came as events, and what the sweep asks for."""

from __future__ import annotations

from uuid import UUID

from datalane.access.lifecycle.metrics import SIGNALS
from datalane.access.lifecycle.reconciling import reconcile
from datalane.access.lifecycle.schemas import SignalReceipt
from datalane.access.lifecycle.service import settle, tell
from datalane.access.lifecycle.signing import SignedSignals
from datalane.db.transaction import Transaction
from datalane.engine.events import get_event
from datalane.engine.handlers import Handlers, Job
from datalane.errors import Forbidden
from datalane.kit.logs import get_logger

SIGNALED = "access.signaled"
SETTLE = "access.settle"
RECONCILE = "access.reconcile"

log = get_logger(__name__)


async def take_signed(tx: Transaction, signals: SignedSignals, signed: str) -> SignalReceipt:
    """Tell a signal that a source has signed. The transaction is the system's, whoever handed the signal on.

    Raises as `SignedSignals.read`, and nothing has happened then.
    """
    try:
        signal = signals.read(signed, tx.workspace_id)
    except Forbidden:
        SIGNALS.labels("untrusted").inc()
        raise
    [receipt] = await tell(tx, [signal])
    if receipt.receipt == "conflict":
        log.warning(
            "access_signal_conflicts",
            workspace_id=str(tx.workspace_id),
            source_system=receipt.source_system,
            source_event_id=receipt.source_event_id,
        )
    return receipt


def register(handlers: Handlers, signals: SignedSignals) -> None:
    """Add them. What is not trusted fails for good and stays in sight among the jobs: once the source is named in the
    settings, `datalane jobs retry` takes it up again."""

    @handlers.on_event(SIGNALED)
    async def on_signaled(tx: Transaction, job: Job) -> None:
        event = await get_event(tx, UUID(job.args["event_id"]))
        if event is not None and event.event_type == SIGNALED:
            await take_signed(tx, signals, event.payload["signed"])

    @handlers.transactional(SETTLE)
    async def on_settle(tx: Transaction, job: Job) -> None:
        await settle(tx)

    @handlers.transactional(RECONCILE)
    async def on_reconcile(tx: Transaction, job: Job) -> None:
        found = await reconcile(tx)
        if found.differences:
            log.warning(
                "demo_access_differs",
                workspace_id=str(tx.workspace_id),
                fields=[each.field for each in found.differences],
            )
