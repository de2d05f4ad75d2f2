"""Who told a signal, and why, is of admins and the operator: no member reads it, wherever they look."""

from __future__ import annotations

import asyncpg
import pytest
from tests.integration.access.lifecycle.telling import DAY, HOUR, NOON, a_signal, tell
from tests.integration.engine.lab import ranked

from datalane.access.lifecycle import service
from datalane.access.lifecycle.schemas import Correction, KeptSignal
from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.errors import Forbidden, InvalidInput

pytestmark = [pytest.mark.one_database, pytest.mark.usefixtures("plans")]

WHO, WHY = "Ada Byron", "they-have-not-paid"
NOTES = "SELECT source_event_id, done, told_by, note FROM datalane.read_access_notes($1, $2)"
READABLE = (
    "SELECT c.oid::regclass::text AS name FROM pg_class c WHERE c.relnamespace = 'datalane'::regnamespace"
    " AND c.relkind IN ('r', 'p', 'v') AND has_table_privilege(c.oid, 'SELECT')"
)


@pytest.fixture(autouse=True)
async def noted(database: Database, operator: Context) -> None:
    """A person told a signal, corrected, released, and told something else under an id."""
    said = {"told_by": WHO, "note": WHY}
    await tell(
        database, operator, a_signal("activate", NOON - HOUR, "a", **said), a_signal("suspend", NOON - 4000 * DAY, "s")
    )
    await tell(database, operator, a_signal("activate", NOON - HOUR, "a", plan_id="trial", **said))
    async with database.transaction(operator) as tx:
        await service.correct(tx, Correction(state="suspended", told_by=WHO, note=WHY, source_event_id="c"), now=NOON)
        assert await service.release(tx, WHO, WHY, now=NOON) == 1


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER])
async def test_no_member_finds_a_note_in_any_table(database: Database, context: Context, role: Role) -> None:
    """Not in the signals, the history, the audit log or the events."""
    async with database.transaction(ranked(context, role)) as tx:
        tables = [row["name"] for row in await tx.fetch(READABLE)]
        rows = [row[0] for name in tables for row in await tx.fetch(f"SELECT t::text FROM {name} AS t")]
    assert {"datalane.access_signals", "datalane.access_history", "datalane.audit_records"} <= set(tables)
    assert any("demo_access.corrected" in row for row in rows)
    assert [row for row in rows if WHY in row or WHO in row] == []


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER])
@pytest.mark.parametrize("statement", [NOTES, "SELECT note FROM datalane.access_notes WHERE $1::text[] <> $2::text[]"])
async def test_no_member_asks_for_one(database: Database, context: Context, role: Role, statement: str) -> None:
    with pytest.raises((Forbidden, asyncpg.InsufficientPrivilegeError)):
        async with database.transaction(ranked(context, role)) as tx:
            await tx.fetch(statement, ["billing"], ["a"])


@pytest.mark.parametrize("role", [Role.ADMIN, Role.OWNER, Role.SYSTEM])
async def test_admins_and_the_operator_read_them(database: Database, context: Context, role: Role) -> None:
    async with database.transaction(ranked(context, role)) as tx:
        rows = await tx.fetch(NOTES, ["billing", "operator", "billing"], ["a", "c", "s"])
        kept = {each.source_event_id: each for each in await service.list_signals(tx)}
    assert [tuple(row) for row in rows] == [
        ("a", "told", WHO, WHY),
        ("c", "told", WHO, WHY),
        ("s", "released", WHO, WHY),
    ]
    assert [_said(kept[event]) for event in ("a", "c", "s")] == [
        (WHO, WHY, None, None),
        (WHO, WHY, None, None),
        (None, None, WHO, WHY),
    ]
    assert kept["a"].conflicting["plan_id"] == "trial"


def _said(kept: KeptSignal) -> tuple[str | None, ...]:
    return kept.told_by, kept.note, kept.released_by, kept.release_note


async def test_the_admin_of_another_workspace_reads_none(database: Database, other_context: Context) -> None:
    async with database.transaction(ranked(other_context, Role.ADMIN)) as tx:
        assert await tx.fetch(NOTES, ["billing", "operator"], ["a", "c"]) == []


@pytest.mark.parametrize("left_out", ["told_by", "note"])
async def test_a_correction_by_raw_sql_says_who_and_why_too(
    database: Database, operator: Context, left_out: str
) -> None:
    row = {"source_system": "operator", "source_event_id": "x", "signal": "correct", "state": "expired"}
    said = {name: value for name, value in {"told_by": WHO, "note": WHY}.items() if name != left_out}
    with pytest.raises(InvalidInput, match="who makes it"):
        async with database.transaction(operator) as tx:
            await tx.fetch("SELECT receipt FROM datalane.record_access_signals($1)", [{**row, **said}])
