"""Maintenance: partitions ahead of time, retention, forgotten keys and sessions, seals of the audit log, gauges of the
queue. Runs as the maintenance login, once per lane; a second one finds nothing to do.

Retention drops whole months: rows are kept at least as long as the settings say, and at most a month longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from datalane.db.faults import translated
from datalane.db.reaching import CONNECT_SECONDS, MAINTENANCE_URL, reaching, require_prepared
from datalane.db.roles import Roles
from datalane.engine.metrics import QueueGauges
from datalane.engine.seal import PERIOD as SEALING_PERIOD
from datalane.engine.seal import seal_once
from datalane.errors import ConfigurationError, DatabaseRefused, DatabaseUnavailable, DatalaneError
from datalane.kit.clock import utc_now
from datalane.kit.logs import get_logger
from datalane.settings import Limits, Retention, Settings

MONTHS_AHEAD = 3
PERIOD = timedelta(minutes=10)
COUNTING_PERIOD = timedelta(seconds=15)
_RETRY = timedelta(seconds=5)
_BITE = 10_000
_CLOSING = timedelta(seconds=2)
_ORPHANS_END = {"client_connection_check_interval": "1s"}

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Duty:
    """What is done again and again with a connection of the maintenance login, `period` after it was done.

    One that takes minutes is `breakable`: it is cancelled, not waited for, when the process is to stop.
    """

    name: str
    period: timedelta
    do: Callable[[asyncpg.Connection], Awaitable[None]]
    breakable: bool = False


@dataclass(frozen=True, slots=True)
class Maintained:
    """What one run did."""

    partitions_added: int
    partitions_dropped: int
    keys_forgotten: int
    sessions_forgotten: int
    attempts_forgotten: int


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
        "datalane.automation_runs": retention.events,
        "datalane.event_ingestion": retention.ingestion_log,
        "datalane.retrieval_log": retention.retrieval_log,
        "datalane.notifications": retention.notifications,
        "datalane.notification_deliveries": retention.notifications,
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
        attempts = await connection.fetchval("SELECT datalane.forget_attempts($1, $2)", _BITE, now)
    return Maintained(added, dropped, forgotten, sessions, attempts)


async def run_maintenance(
    settings: Settings, stop: asyncio.Event, ready: asyncio.Event | None = None, duties: Sequence[Duty] = ()
) -> None:
    """Maintain every ten minutes, seal the audit log every minute, count the jobs every quarter of one, and do the
    `duties` of the domains; until `stop`.

    `ready` is set after the first maintenance. While the database does not answer, a first run is tried for the
    settings' `start_patience`, later ones for ever. Raises `ConfigurationError` without DATALANE_MAINTENANCE_URL, and
    what stood in the way of a first run.
    """
    if settings.maintenance_url is None:
        raise ConfigurationError("maintenance needs DATALANE_MAINTENANCE_URL, as `datalane init` printed it")
    url, roles = settings.maintenance_url.get_secret_value(), Roles(settings.role_prefix)

    async def maintain(connection: asyncpg.Connection) -> None:
        done = await run_once(connection, utc_now(), settings.retention, settings.limits, roles)
        log.info("maintained", **asdict(done))
        if ready is not None:
            ready.set()

    async def seal(connection: asyncpg.Connection) -> None:
        done = await seal_once(connection)
        if done.seals:
            log.info("audit_sealed", **asdict(done))

    own = (
        Duty("maintenance", PERIOD, maintain),
        Duty("sealing", SEALING_PERIOD, seal),
        Duty("counting", COUNTING_PERIOD, QueueGauges().set),
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            for duty in (*own, *duties):
                tasks.create_task(_repeat(duty, url, settings.start_patience, stop))
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed


async def _repeat(duty: Duty, url: str, patience: timedelta, stop: asyncio.Event) -> None:
    """Do `duty` on a connection of its own, and again after its period, or sooner when it failed."""
    loop, ran = asyncio.get_running_loop(), False
    deadline = loop.time() + patience.total_seconds()
    while not stop.is_set():
        pause = duty.period
        try:
            await _unless_stopped(_connect_and_do(duty, url), stop if duty.breakable else None)
            ran = True
        except (DatalaneError, asyncpg.PostgresError) as error:
            if not ran and _is_hopeless(error, loop.time() >= deadline):
                raise
            log.warning(f"{duty.name}_failed", error=str(error))
            pause = _RETRY if ran else min(_RETRY, timedelta(seconds=max(0.1, deadline - loop.time())))
        try:
            async with asyncio.timeout(pause.total_seconds()):
                await stop.wait()
        except TimeoutError:
            continue


async def _unless_stopped(work: Coroutine[Any, Any, None], stop: asyncio.Event | None) -> None:
    """Await `work`; when `stop` comes first, cancel it."""
    if stop is None:
        return await work
    doing, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((doing, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        if not doing.done():
            doing.cancel()
        try:
            await doing
        except asyncio.CancelledError:
            if not stop.is_set():
                raise


def _is_hopeless(error: Exception, late: bool) -> bool:
    """Whether a first run will not come to be, or not in time."""
    return isinstance(error, ConfigurationError | DatabaseRefused) or (late and isinstance(error, DatabaseUnavailable))


async def _connect_and_do(duty: Duty, url: str) -> None:
    with reaching(url, MAINTENANCE_URL):
        connection = await asyncpg.connect(
            url,
            timeout=CONNECT_SECONDS,
            server_settings={"application_name": f"datalane {duty.name}", **_ORPHANS_END},
        )
    try:
        await require_prepared(connection, MAINTENANCE_URL)
        await duty.do(connection)
    finally:
        await _close(connection)


async def _close(connection: asyncpg.Connection) -> None:
    """Close, and hang up when the server does not let go in time.

    A cancelled statement is waited for without end otherwise, and a cancel request that arrives before its statement
    begins is lost. The server notices that nobody listens, as its session asks it to.
    """
    try:
        async with asyncio.timeout(_CLOSING.total_seconds()):
            await connection.close()
    except TimeoutError:
        connection.terminate()
