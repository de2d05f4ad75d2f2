"""The sweep writes down what time has done; the reconciling finds what stands otherwise than the history says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from tests.conftest import a_context
from tests.integration.access.conftest import plans_of
from tests.integration.access.lifecycle.telling import DAY, HOUR, NOON, a_signal, as_rows, state, tell, tellings
from tests.integration.engine.lab import eventually
from tests.integration.engine.workers import quick, working

from datalane.access.entitlements.plans import Plan, register_plans
from datalane.access.entitlements.service import assign_plan, check_feature
from datalane.access.lifecycle import service
from datalane.access.lifecycle.folding import Told
from datalane.access.lifecycle.handlers import RECONCILE, SETTLE, SIGNALED, register
from datalane.access.lifecycle.reconciling import reconcile
from datalane.access.lifecycle.schemas import Reconciled
from datalane.access.lifecycle.signing import SignedSignals
from datalane.access.lifecycle.sweeping import PATIENCE, Asked, sweep_once
from datalane.contracts.context import Context, Role
from datalane.db.access import Prepared
from datalane.db.database import Database
from datalane.domains import maintenance_duties, make_runtime, register_handlers
from datalane.engine.handlers import Handlers
from datalane.errors import Forbidden
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7
from datalane.settings import Settings

pytestmark = pytest.mark.usefixtures("plans")


@pytest.fixture
async def maintenance(urls: Prepared) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(urls.maintenance_url)
    yield connection
    await connection.close()


async def jobs(database: Database, context: Context) -> list[str]:
    async with database.transaction(context) as tx:
        rows = await tx.fetch(
            "SELECT kind FROM datalane.jobs WHERE workspace_id = $1 AND kind LIKE 'access.%' ORDER BY id",
            tx.workspace_id,
        )
    return [row["kind"] for row in rows]


async def reconciled(database: Database, operator: Context, repair: bool = False, now: datetime = NOON) -> Reconciled:
    async with database.transaction(operator) as tx:
        return await reconcile(tx, repair=repair, now=now)


async def by_hand(maintenance: asyncpg.Connection, statement: str, *args: Any) -> None:
    """As a superuser's hand or a bad restore would."""
    async with maintenance.transaction():
        await maintenance.execute("SET LOCAL ROLE datalane_definer")
        assert await maintenance.execute(statement, *args) != "UPDATE 0"


async def test_the_sweep_asks_for_what_is_due_and_once(
    database: Database, operator: Context, maintenance: asyncpg.Connection
) -> None:
    await tell(database, operator, a_signal("activate", ends_at=NOON + HOUR))
    assert await sweep_once(maintenance, NOON + HOUR - timedelta(seconds=1)) == Asked()
    assert await sweep_once(maintenance, NOON + HOUR) == Asked(settling=1)
    assert await sweep_once(maintenance, NOON + HOUR + PATIENCE / 2) == Asked()
    assert await jobs(database, operator) == [SETTLE]
    assert await sweep_once(maintenance, NOON + HOUR + PATIENCE * 2) == Asked(settling=1)


async def test_a_plan_that_opens_to_who_was_deactivated_before_is_told_of_and_taken_away(
    database: Database, operator: Context
) -> None:
    await tell(database, operator, a_signal("deactivate"))
    assert (await reconciled(database, operator, now=NOON + HOUR)).differences == []
    await register_plans(database, plans_of(Plan("free", ("search",), {}, default=True)))
    now = NOON + 2 * HOUR
    [difference] = (await reconciled(database, operator, now=now)).differences
    assert (difference.field, difference.expected, difference.found) == ("plan.status", "disabled", "enabled")
    assert (await reconciled(database, operator, repair=True, now=now)).repaired
    async with database.transaction(operator) as tx:
        assert not (await check_feature(tx, "search", now)).allowed


async def test_the_sweep_goes_on_in_bites_and_a_killed_one_loses_nothing(
    database: Database, maintenance: asyncpg.Connection
) -> None:
    homes = [Context.system(uuid7()) for _ in range(7)]
    for home in homes:
        await tell(database, home, a_signal("activate", ends_at=NOON + HOUR))
    killed = maintenance.transaction()
    await killed.start()
    await maintenance.fetch("SELECT * FROM datalane.sweep_demo_access(3, now => $1)", NOON + HOUR)
    await killed.rollback()
    assert await sweep_once(maintenance, NOON + HOUR, most=3) == Asked(settling=7)
    assert [await jobs(database, home) for home in homes] == [[SETTLE]] * 7


async def touched(maintenance: asyncpg.Connection, now: datetime) -> tuple[Asked, int, int]:
    """What a sweep asked for, how often it read the table of accesses from end to end, and how many rows it fetched."""
    async with maintenance.transaction():
        row = await maintenance.fetchrow("SELECT settling, reconciling FROM datalane.sweep_demo_access(now => $1)", now)
        read = await maintenance.fetchrow(
            "SELECT seq_scan, idx_tup_fetch FROM pg_stat_xact_user_tables"
            " WHERE relid = 'datalane.demo_access'::regclass"
        )
    return Asked(row["settling"], row["reconciling"]), read["seq_scan"], read["idx_tup_fetch"]


async def test_a_sweep_reads_what_is_due_and_no_more_of_many_accesses(
    database: Database, operator: Context, maintenance: asyncpg.Connection
) -> None:
    """Also while no worker does what was asked for."""
    async with maintenance.transaction():
        await maintenance.execute("SET LOCAL ROLE datalane_definer")
        await maintenance.execute(
            "INSERT INTO datalane.demo_access (workspace_id, state, created_at, updated_at, sweep_at, reconcile_at)"
            " SELECT app.uuid7(), 'active', $1, $1, m.moment, m.moment FROM generate_series(1, 5000) AS n,"
            " LATERAL (SELECT $1::timestamptz + n * interval '1 minute' AS moment) AS m",
            NOON + HOUR,
        )
    await tell(database, operator, a_signal("activate", ends_at=NOON + HOUR))
    assert await touched(maintenance, NOON) == (Asked(), 0, 0)
    asked, whole, fetched = await touched(maintenance, NOON + HOUR + timedelta(minutes=3))
    assert (asked, whole) == (Asked(settling=4, reconciling=2), 0)
    assert fetched <= 6 * asked.settling
    asked, whole, left = await touched(maintenance, NOON + HOUR + timedelta(minutes=3))
    assert (asked, whole) == (Asked(), 0)
    assert left <= fetched  # versions of rows that nobody has tidied up yet


async def test_of_many_differences_the_first_are_kept(
    database: Database, operator: Context, context: Context, maintenance: asyncpg.Connection
) -> None:
    start = NOON - 200 * HOUR
    renewals = [
        a_signal("renew", start + number * HOUR, f"r{number}", ends_at=NOON + number * HOUR) for number in range(1, 150)
    ]
    await tell(database, operator, a_signal("activate", start), *renewals)
    await by_hand(
        maintenance, "UPDATE datalane.access_history SET why = 'x' WHERE workspace_id = $1", context.workspace_id
    )
    assert len((await reconciled(database, operator)).differences) == 100
    async with database.transaction(operator) as tx:
        kept = await tx.fetchval("SELECT difference FROM datalane.demo_access WHERE workspace_id = $1", tx.workspace_id)
    assert len(kept) == 100
    with pytest.raises(asyncpg.CheckViolationError):
        async with database.transaction(operator) as tx:
            await tx.execute("SELECT datalane.note_access_difference($1)", [{"field": "x"}] * 101)


async def test_each_access_is_reconciled_once_a_day(
    database: Database, operator: Context, maintenance: asyncpg.Connection
) -> None:
    await tell(database, operator, a_signal("activate"))
    assert await sweep_once(maintenance, NOON + DAY) == Asked()
    assert await sweep_once(maintenance, NOON + DAY + HOUR) == Asked(reconciling=1)
    assert await jobs(database, operator) == [RECONCILE]
    await reconciled(database, operator, now=NOON + DAY + HOUR)
    assert await sweep_once(maintenance, NOON + 2 * DAY) == Asked()


async def test_what_differs_is_looked_for_again_soon(
    database: Database, operator: Context, maintenance: asyncpg.Connection
) -> None:
    """What is told meanwhile does not hide it: another plan is assigned by hand, and the period is renewed."""
    await tell(database, operator, a_signal("activate", NOON - HOUR, ends_at=NOON + DAY))
    async with database.transaction(operator) as tx:
        await assign_plan(tx, "trial", now=NOON + HOUR)
    assert (await reconciled(database, operator, now=NOON + HOUR)).differences
    assert await sweep_once(maintenance, NOON + HOUR + PATIENCE / 2) == Asked()
    await tell(database, operator, a_signal("suspend", NOON, "s"), a_signal("resume", NOON, "t"), now=NOON + HOUR)
    async with database.transaction(operator) as tx:
        assert (await service.get_status(tx, NOON + HOUR)).status == "pending_sync"
    assert await sweep_once(maintenance, NOON + HOUR + PATIENCE * 2) == Asked(reconciling=1)


def test_the_lanes_own_processes_sweep_and_settle(tmp_path: Path, database: Database) -> None:
    handlers, own = Handlers(), Settings(home=tmp_path)
    register_handlers(handlers, database, make_runtime(own))
    assert {SETTLE, RECONCILE, f"on:{SIGNALED}"} <= set(handlers.kinds)
    assert "sweeping_demo_access" in {duty.name for duty in maintenance_duties(own)}


async def test_expiry_and_grace_come_to_be_with_nobody_telling(
    database: Database, operator: Context, context: Context, maintenance: asyncpg.Connection
) -> None:
    now = utc_now()
    told = [a_signal("activate", now - DAY, ends_at=now + timedelta(seconds=0.2), grace_seconds=1)]
    await tell(database, operator, *told, now=now)
    handlers = Handlers()
    register(handlers, SignedSignals([]))

    async def expired() -> bool:
        await sweep_once(maintenance, utc_now())
        async with database.transaction(context) as tx:
            written = await tx.fetchval(
                "SELECT state FROM datalane.demo_access WHERE workspace_id = $1", tx.workspace_id
            )
        return bool(written == "expired")

    async with working(database, handlers, quick()):
        await eventually(expired)
    async with database.transaction(context) as tx:
        events = await tx.fetch(
            "SELECT event_type FROM datalane.events WHERE workspace_id = $1 ORDER BY event_id", tx.workspace_id
        )
    types = [row["event_type"] for row in events]
    assert (types[0], types[-1]) == ("access.activated", "access.deactivated")


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(told=tellings(ahead=8))
async def test_what_was_written_never_differs_from_what_is_recomputed(database: Database, told: list[Told]) -> None:
    operator = Context.system(uuid7())
    for each in told:
        async with database.transaction(operator) as tx:
            await tx.fetch("SELECT receipt FROM datalane.record_access_signals($1, now => $2)", as_rows([each]), NOON)
    for after in (timedelta(seconds=1), 5 * HOUR, 20 * HOUR):
        found = await reconciled(database, operator, now=NOON + after)
        assert found.differences == []


TAMPERED = [
    ("UPDATE datalane.demo_access SET state = 'suspended' WHERE workspace_id = $1", {"access.state"}),
    (
        "UPDATE datalane.demo_access SET ends_at = ends_at + interval '1 year' WHERE workspace_id = $1",
        {"access.ends_at"},
    ),
    ("UPDATE datalane.demo_access SET plan_id = 'trial' WHERE workspace_id = $1", {"access.plan_id"}),
    ("UPDATE datalane.demo_access SET next_at = NULL, sweep_at = NULL WHERE workspace_id = $1", {"access.next_at"}),
    ("UPDATE datalane.access_history SET to_state = 'grace' WHERE workspace_id = $1", {"history.1"}),
    (
        "UPDATE datalane.access_signals SET outcome = 'ignored', reason = 'because' WHERE workspace_id = $1",
        {"signal.billing/activate-01110000"},
    ),
    ("UPDATE datalane.workspace_plans SET status = 'disabled' WHERE workspace_id = $1", {"plan.status"}),
    ("UPDATE datalane.workspace_plans SET expires_at = NULL WHERE workspace_id = $1", {"plan.expires_at"}),
    ("UPDATE datalane.workspace_plans SET plan_id = 'trial' WHERE workspace_id = $1", {"plan.plan_id"}),
    ("UPDATE datalane.workspace_plans SET canceled_at = now() WHERE workspace_id = $1", {"plan.plan_id"}),
]


@pytest.mark.parametrize(("statement", "fields"), TAMPERED)
async def test_what_was_changed_by_hand_is_found_shown_and_repaired(
    database: Database,
    operator: Context,
    context: Context,
    maintenance: asyncpg.Connection,
    statement: str,
    fields: set[str],
) -> None:
    await tell(database, operator, a_signal("activate", NOON - HOUR, ends_at=NOON + DAY, grace_seconds=3600))
    assert (await reconciled(database, operator)).differences == []
    await by_hand(maintenance, statement, context.workspace_id)
    found = await reconciled(database, operator, now=NOON + HOUR)
    assert {each.field for each in found.differences} == fields
    assert not found.repaired
    async with database.transaction(context) as tx:
        assert (await service.get_status(tx, NOON + HOUR)).status == "pending_sync"
    mended = await reconciled(database, operator, repair=True, now=NOON + 2 * HOUR)
    assert mended.repaired
    assert (await reconciled(database, operator, now=NOON + 3 * HOUR)).differences == []
    async with database.transaction(context) as tx:
        assert (await service.get_status(tx, NOON + 3 * HOUR)).status == "active"


async def test_a_plan_that_somebody_assigned_beside_it_is_found(
    database: Database, operator: Context, context: Context
) -> None:
    await tell(database, operator, a_signal("activate", NOON - HOUR), a_signal("deactivate", NOON - HOUR / 2))
    async with database.transaction(operator) as tx:
        await assign_plan(tx, "pro", now=NOON + HOUR)
    found = await reconciled(database, operator, now=NOON + 2 * HOUR)
    assert [(each.field, each.expected, each.found) for each in found.differences] == [
        ("plan.status", "disabled", "enabled")
    ]
    assert (await reconciled(database, operator, repair=True, now=NOON + 3 * HOUR)).repaired


async def test_a_workspace_of_which_nothing_was_told_has_no_differences(database: Database, operator: Context) -> None:
    found = await reconciled(database, operator)
    assert (found.state, found.signals, found.differences) == ("pending", 0, [])


async def test_a_reconciling_and_what_is_told_meanwhile_do_not_disturb_one_another(
    database: Database, operator: Context, context: Context
) -> None:
    await tell(database, operator, a_signal("activate", NOON - 5 * HOUR))

    async def telling(number: int) -> None:
        signal = "suspend" if number % 2 else "resume"
        await tell(database, operator, a_signal(signal, NOON - HOUR + number * timedelta(minutes=1), f"t{number}"))

    async def looking() -> list[str]:
        return [each.field for each in (await reconciled(database, operator)).differences]

    found = await asyncio.gather(*(looking() if number % 2 else telling(number // 2) for number in range(16)))
    assert [each for each in found if each] == []
    assert await state(database, context) == "suspended"


async def test_reconciling_is_the_operators(database: Database) -> None:
    with pytest.raises(Forbidden):
        async with database.transaction(a_context(role=Role.OWNER)) as tx:
            await reconcile(tx)
