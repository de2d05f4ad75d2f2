"""Cron schedules: at each time a job is enqueued, once, whichever worker fires it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.permissions import READ_SCHEDULES, SCHEDULE
from datalane.errors import InvalidInput, NotFound
from datalane.kit.clock import utc_now

_queries = load_queries(__file__)


def next_run(cron: str, timezone: str, after: datetime) -> datetime:
    """The first time of `cron` (five fields) in `timezone` after `after`, in UTC.

    Around a change to or from summer time it does as Debian's cron does. Raises `InvalidInput`.
    """
    try:
        return next(CronSim(cron, after.astimezone(ZoneInfo(timezone)))).astimezone(UTC)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidInput(f"unknown time zone {timezone!r}") from error
    except (CronSimError, StopIteration) as error:
        raise InvalidInput(f"{cron!r} is not a cron expression with a next time") from error


async def put_schedule(
    tx: Transaction,
    name: str,
    kind: str,
    cron: str,
    *,
    timezone: str = "UTC",
    args: Mapping[str, Any] | None = None,
    now: datetime | None = None,
) -> datetime:
    """Create or replace the schedule `name`; answers its first time. Raises `InvalidInput`."""
    SCHEDULE.check(tx.context)
    first = next_run(cron, timezone, now or utc_now())
    await _queries.put_schedule(
        tx.connection,
        workspace_id=tx.workspace_id,
        name=name,
        kind=kind,
        cron=cron,
        timezone=timezone,
        args=dict(args or {}),
        next_run_at=first,
        actor_id=tx.context.actor_id,
    )
    return first


async def set_enabled(tx: Transaction, name: str, enabled: bool) -> None:
    """Raises `NotFound`, `Forbidden` for a viewer."""
    SCHEDULE.check(tx.context)
    done = await _queries.set_schedule_enabled(tx.connection, workspace_id=tx.workspace_id, name=name, enabled=enabled)
    if done != "UPDATE 1":
        raise NotFound(f"there is no schedule {name}")


async def list_schedules(tx: Transaction) -> list[dict[str, Any]]:
    READ_SCHEDULES.check(tx.context)
    rows = await _queries.list_schedules(tx.connection, workspace_id=tx.workspace_id)
    return [dict(row) for row in rows]
