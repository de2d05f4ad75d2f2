"""Maintenance: partitions ahead of time, retention, forgotten keys and sessions. Runs as the maintenance
login, once per lane; a second one finds nothing to do.

Retention drops whole months: rows are kept at least as long as the settings say, and at most a month longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg
import structlog

from datalane.db.faults import translated
from datalane.db.reaching import CONNECT_SECONDS, MAINTENANCE_URL, reaching, require_prepared
from datalane.db.roles import Roles
from datalane.errors import ConfigurationError, DatabaseRefused, DatabaseUnavailable, DatalaneError
from datalane.kit.clock import utc_now
from datalane.settings import Limits, Retention, Settings

MONTHS_AHEAD = 3
PERIOD = timedelta(minutes=10)
_RETRY = timedelta(seconds=5)
_BITE = 10_000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Maintained:
    """What one run did."""

    partitions_added: int
    partitions_dropped: int
    keys_forgotten: int
    sessions_forgotten: int


async def run_once(
    connection: asyncpg.Connection,
    now: datetime,
    retention: Retention,
    limits: Limits,
    roles: Roles | None = None,
) -> Maintained:
    """One run of all duties at `now`. `connection` is the maintenance login's."""
    kept: Mapping[str, timedelta] = {
        "datalane.events": retention.events,
        "datalane.event_ingestion": retention.ingestion_log,
        "datalane.job_history": retention.job_history,
        "datalane.job_transitions": retention.job_history,
    }
    added = dropped = forgotten = 0
    with translated():
        async with connection.transaction():
            await connection.execute(f"SET LOCAL ROLE {(roles or Roles()).owner}")
            for table, age in kept.items():
                added += await connection.fetchval(
                    "SELECT app.add_partitions($1::text::regclass, $2, $3)", table, now, MONTHS_AHEAD + 1
                )
                dropped += await connection.fetchval(
                    "SELECT app.drop_partitions($1::text::regclass, $2)", table, now - age
                )
        forgotten += await connection.fetchval(
            "SELECT datalane.forget_old_keys($1, $2, $3)", limits.dedupe_window, _BITE, now
        )
        forgotten += await connection.fetchval(
            "SELECT datalane.forget_idempotent_answers($1, $2, $3)", limits.idempotency_window, _BITE, now
        )
        sessions = await connection.fetchval("SELECT datalane.forget_sessions($1, $2)", _BITE, now)
    return Maintained(added, dropped, forgotten, sessions)


async def run_maintenance(settings: Settings, stop: asyncio.Event, ready: asyncio.Event | None = None) -> None:
    """Run at once and then every ten minutes until `stop` is set. `ready` is set after the first run.

    While the database does not answer, a first run is tried for the settings' `start_patience`, later ones for ever.
    Raises `ConfigurationError` without DATALANE_MAINTENANCE_URL, and what stood in the way of a first run.
    """
    if settings.maintenance_url is None:
        raise ConfigurationError("maintenance needs DATALANE_MAINTENANCE_URL, as `datalane init` printed it")
    url, roles = settings.maintenance_url.get_secret_value(), Roles(settings.role_prefix)
    loop, ran = asyncio.get_running_loop(), False
    deadline = loop.time() + settings.start_patience.total_seconds()
    while not stop.is_set():
        pause = PERIOD
        try:
            done = await _connect_and_run(url, settings, roles)
            log.info(
                "maintained",
                partitions_added=done.partitions_added,
                partitions_dropped=done.partitions_dropped,
                keys_forgotten=done.keys_forgotten,
                sessions_forgotten=done.sessions_forgotten,
            )
            ran = True
            if ready is not None:
                ready.set()
        except (DatalaneError, asyncpg.PostgresError) as error:
            if not ran and _is_hopeless(error, loop.time() >= deadline):
                raise
            log.warning("maintenance_failed", error=str(error))
            pause = _RETRY if ran else min(_RETRY, timedelta(seconds=max(0.1, deadline - loop.time())))
        try:
            async with asyncio.timeout(pause.total_seconds()):
                await stop.wait()
        except TimeoutError:
            continue


def _is_hopeless(error: Exception, late: bool) -> bool:
    """Whether a first run will not come to be, or not in time."""
    return isinstance(error, ConfigurationError | DatabaseRefused) or (late and isinstance(error, DatabaseUnavailable))


async def _connect_and_run(url: str, settings: Settings, roles: Roles) -> Maintained:
    with reaching(url, MAINTENANCE_URL):
        connection = await asyncpg.connect(
            url, timeout=CONNECT_SECONDS, server_settings={"application_name": "datalane maintenance"}
        )
    try:
        await require_prepared(connection, MAINTENANCE_URL)
        return await run_once(connection, utc_now(), settings.retention, settings.limits, roles)
    finally:
        await connection.close()
