"""A workspace with a quota for each kind of window, and what tests ask of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from datalane.access.entitlements.plans import Plan, Quota
from datalane.access.usage import service
from datalane.contracts.context import Context
from datalane.db.transaction import Transaction

NOON = datetime(2031, 3, 1, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
EVERY_WINDOW = Plan(
    "windows",
    (),
    {
        "a.minute": Quota(10, "minute"),
        "a.hour": Quota(10, "hour"),
        "a.day": Quota(10, "day", warn_at=(50, 80)),
        "a.berlin.day": Quota(10, "day", time_zone="Europe/Berlin"),
        "an.azores.day": Quota(10, "day", time_zone="Atlantic/Azores"),
        "a.month": Quota(10, "month"),
        "a.rolling": Quota(10, "rolling", seconds=3_600),
        "no.limit": Quota(None, "day"),
        "nothing": Quota(0, "day"),
    },
)


async def use(tx: Transaction, quota: str, units: int, key: str, now: datetime = NOON) -> tuple[str, int]:
    used = await service.use(tx, quota, units, idempotency_key=key, now=now)
    return used.outcome, used.consumed_units


async def events(tx: Transaction, context: Context) -> list[tuple[str, dict[str, Any]]]:
    rows = await tx.fetch(
        "SELECT event_type, payload FROM datalane.events WHERE workspace_id = $1 AND event_type LIKE 'usage.%' "
        "ORDER BY received_at, event_id",
        context.workspace_id,
    )
    return [(row["event_type"], row["payload"]) for row in rows]
