"""What is no signal is refused, by the service and by the database, and leaves nothing."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest
from pydantic import ValidationError
from tests.integration.access.lifecycle.telling import DAY, HOUR, NOON, a_signal, rows, status, tell

from datalane.access.lifecycle.schemas import Correction
from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.errors import LimitExceeded

pytestmark = [pytest.mark.one_database, pytest.mark.usefixtures("plans")]


BAD: list[dict[str, Any]] = [
    {"signal": "activate", "plan_id": None},
    {"signal": "activate", "plan_id": "Pro"},
    {"signal": "activate", "plan_id": "x" * 65},
    {"signal": "activate", "ends_at": NOON},
    {"signal": "activate", "ends_at": "9999-12-31T00:00:00Z"},
    {"signal": "activate", "ends_at": "2032-01-01T00:00:00"},
    {"signal": "activate", "grace_seconds": -1},
    {"signal": "activate", "grace_seconds": 1.5},
    {"signal": "activate", "grace_seconds": 10**12},
    {"signal": "activate", "source_version": -1},
    {"signal": "activate", "source_version": 2**63},
    {"signal": "activate", "source_version": "7"},
    {"signal": "activate", "occurred_at": "0900-01-01T00:00:00Z"},
    {"signal": "activate", "occurred_at": "infinity"},
    {"signal": "activate", "source_event_id": ""},
    {"signal": "activate", "source_event_id": "x" * 201},
    {"signal": "activate", "source_event_id": "a\x00b"},
    {"signal": "activate", "note": "x" * 1_000_000},
    {"signal": "activate", "colour": "red"},
    {"signal": "renew"},
    {"signal": "suspend", "plan_id": "pro"},
    {"signal": "suspend", "ends_at": NOON + DAY},
    {"signal": "suspend", "grace_seconds": 1},
    {"signal": "correct"},
    {"signal": "explode"},
]


@pytest.mark.parametrize(
    "said", BAD, ids=lambda said: ",".join(f"{key}={str(value)[:20]}" for key, value in said.items())
)
def test_what_is_no_signal_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        a_signal(**{"at": NOON, **said}) if "occurred_at" not in said else a_signal(
            said["signal"], said["occurred_at"], "e", plan_id="pro"
        )


@pytest.mark.parametrize(
    "said",
    [
        {"state": "grace"},
        {"state": "expired", "ends_at": NOON},
        {"state": "expired", "grace_seconds": 5},
        {"state": "active", "note": ""},
        {"state": "active", "told_by": ""},
        {"state": "pending_sync"},
        {"state": "active", "occurred_at": NOON, "ends_at": NOON},
    ],
)
def test_what_is_no_correction_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Correction.model_validate({"told_by": "Ada", "note": "A mistake.", **said})


RAW: list[dict[str, Any]] = [
    {"signal": "explode"},
    {"signal": "correct", "state": "active", "note": "n", "told_by": "t"},
    {"signal": "renew"},
    {"signal": "activate"},
    {"signal": "activate", "plan_id": "pro", "ends_at": "infinity"},
    {"signal": "activate", "plan_id": "pro", "occurred_at": "-infinity"},
    {"signal": "activate", "plan_id": "pro", "grace_seconds": 10**9},
    {"signal": "suspend", "ends_at": "2040-01-01T00:00:00Z"},
    {"signal": "activate", "plan_id": "pro", "source_event_id": None},
    {"signal": "activate", "plan_id": "pro", "source_version": "a"},
]


@pytest.mark.parametrize("said", RAW)
async def test_raw_sql_of_the_operator_is_held_to_the_same(
    database: Database, operator: Context, context: Context, said: dict[str, Any]
) -> None:
    row = {"source_system": "billing", "source_event_id": "e", "occurred_at": NOON.isoformat(), **said}
    with pytest.raises(asyncpg.PostgresError):
        async with database.transaction(operator) as tx:
            await tx.fetch("SELECT * FROM datalane.record_access_signals($1)", [row])
    assert await rows(database, context, "access_signals") == 0


async def test_too_many_signals_at_once_are_refused(database: Database, operator: Context) -> None:
    with pytest.raises(LimitExceeded):
        await tell(database, operator, *(a_signal("suspend", event=str(number)) for number in range(1_001)))
    with pytest.raises(LimitExceeded):
        async with database.transaction(operator) as tx:
            await tx.fetch("SELECT * FROM datalane.record_access_signals($1)", [{}] * 1_001)


async def test_a_thousand_signals_are_one_fold(database: Database, operator: Context, context: Context) -> None:
    start = NOON - 1_000 * HOUR
    renewals = [
        a_signal("renew", start + number * HOUR, f"r{number}", ends_at=start + (number + 2) * HOUR)
        for number in range(999)
    ]
    receipts = await tell(database, operator, a_signal("activate", start - HOUR), *renewals)
    assert {each.outcome for each in receipts} == {"applied"}
    assert (await status(database, context)).ends_at == NOON
