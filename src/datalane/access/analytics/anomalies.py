"""Anomalies of integrity: reading them, and resolving them with a reason."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from datalane.access.analytics.schemas import AnomalyStatus, IntegrityAnomaly, IntegrityAnomalyPage
from datalane.access.permissions import READ_ANALYTICS, RESOLVE_ANOMALIES
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.audit import record
from datalane.errors import Conflict, NotFound

_queries = load_queries(__file__)


async def list_anomalies(
    tx: Transaction,
    status: AnomalyStatus | None = None,
    event_name: str | None = None,
    plan_id: str | None = None,
    cursor: str | None = None,
    page_size: int = 25,
) -> IntegrityAnomalyPage:
    """Anomalies, the last to be detected first; of a plan those where it was enforced or was seen.

    Raises `InvalidInput` for a cursor that is not this list's.
    """
    READ_ANALYTICS.check(tx.context)
    listing = f"integrity anomalies:{[status, event_name, plan_id]}"
    rows = await _queries.list_anomalies(
        tx.connection,
        workspace_id=tx.workspace_id,
        status=status,
        event_name=event_name,
        plan_id=plan_id,
        before=tx.read_id_cursor(listing, cursor),
        page_size=page_size + 1,
    )
    page, following = tx.cut_page(listing, rows, page_size, lambda row: [row["anomaly_id"]])
    data = [IntegrityAnomaly(**row) for row in page]
    return IntegrityAnomalyPage(data=data, page_size=page_size, next_cursor=following)


async def get_anomaly(tx: Transaction, anomaly_id: UUID) -> IntegrityAnomaly:
    """Raises `NotFound`."""
    READ_ANALYTICS.check(tx.context)
    row = await _queries.get_anomaly(tx.connection, workspace_id=tx.workspace_id, anomaly_id=anomaly_id)
    if row is None:
        raise NotFound("no such anomaly")
    return IntegrityAnomaly(**row)


async def resolve_anomaly(
    tx: Transaction, anomaly_id: UUID, *, by: str, reason: str, now: datetime | None = None
) -> IntegrityAnomaly:
    """The operator has found the cause. Raises `NotFound`, and `Conflict` for one that is resolved."""
    RESOLVE_ANOMALIES.check(tx.context)
    resolved = await _queries.resolve_anomaly(
        tx.connection, anomaly_id=anomaly_id, resolved_by=by, reason=reason, now=now
    )
    if not resolved:
        raise Conflict("the anomaly is resolved already")
    await record(tx, "integrity_anomaly.resolved", "integrity_anomaly", anomaly_id, after={"by": by, "reason": reason})
    return await get_anomaly(tx, anomaly_id)
