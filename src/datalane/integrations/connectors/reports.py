"""Reports of a connector's health, by whoever uses it."""

from __future__ import annotations

from datetime import datetime

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.integrations.connectors import journal
from datalane.integrations.connectors.credentials import mask_credentials
from datalane.integrations.connectors.dependents import Dependents, Paused
from datalane.integrations.connectors.health import Decision, Seen, Standing, check_moment, decide
from datalane.integrations.connectors.schemas import Connector, HealthReport, ReportedHealth
from datalane.integrations.connectors.service import end, find, hold, move
from datalane.integrations.connectors.states import CONNECTOR
from datalane.integrations.permissions import REPORT_HEALTH
from datalane.kit.clock import utc_now

_queries = load_queries(__file__)


async def report_health(
    tx: Transaction, report: HealthReport, dependents: Dependents, now: datetime | None = None
) -> ReportedHealth:
    """What was seen of the connection. One that is not newer than what is known changes nothing and is kept in sight.

    Raises `NotFound`, `InvalidInput` for a moment to come, `IllegalTransition` for a revoked connector.
    """
    REPORT_HEALTH.check(tx.context)
    tx, at = tx.following(), now or utc_now()
    check_moment(report.observed_at, at)
    before = await hold(tx, report.connector_id)
    if before.status == "revoked":
        CONNECTOR.check(before.status, "degraded")
    detail = await mask_credentials(tx, before.connector_id, report.detail)
    seen = Seen(report.outcome, report.during, report.observed_at, report.refreshable)
    decision = decide(standing(before), seen)
    paused = await follow(tx, before, seen, decision, dependents, detail, at)
    await journal.note(
        tx,
        before.connector_id,
        "reported",
        at,
        outcome=seen.outcome,
        outcome_of=seen.outcome_of,
        observed_at=seen.observed_at,
        counted=decision.counted,
        detail=detail,
    )
    after = await find(tx, before.connector_id)
    return ReportedHealth(connector=after, counted=decision.counted, paused=journal.told(paused))


async def follow(
    tx: Transaction,
    before: Connector,
    seen: Seen,
    decision: Decision,
    dependents: Dependents,
    detail: str | None,
    at: datetime,
) -> list[Paused]:
    """Do what was decided of a connector that is held, and tell it; answers what stopped."""
    if not decision.counted:
        return []
    await _queries.set_health(
        tx.connection,
        workspace_id=tx.workspace_id,
        connector_id=before.connector_id,
        outcome=seen.outcome,
        outcome_of=seen.outcome_of,
        observed_at=seen.observed_at,
        detail=detail,
    )
    if decision.status == "revoked":
        return list(await end(tx, before, dependents, at))
    said = {"outcome": seen.outcome, **({} if seen.refreshable is None else {"refreshable": seen.refreshable})}
    if decision.status != before.status:
        await move(tx, before, decision.status, at)
        after = await find(tx, before.connector_id)
        await journal.audit(tx, decision.status, before, after, outcome=seen.outcome)
        await journal.tell(tx, decision.status, after, at, **said)
    if decision.is_news:
        await journal.tell(tx, "sync_failed", before, at, **said)
    return []


def standing(connector: Connector) -> Standing:
    rotated_at = connector.rotated_at if connector.credential_version > 1 else None
    return Standing(connector.status, rotated_at, connector.observed_at, connector.outcome, connector.outcome_of)
