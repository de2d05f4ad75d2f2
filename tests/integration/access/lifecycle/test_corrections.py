"""The operator's word: against what is older, with what is newer, from everywhere to everywhere."""

from __future__ import annotations

from typing import Any

import pytest
from tests.integration.access.lifecycle.telling import HOUR, NOON, a_signal, plan, state, status, tell

from datalane.access.lifecycle import service
from datalane.access.lifecycle.schemas import Correction
from datalane.contracts.context import Context
from datalane.db.database import Database

pytestmark = [pytest.mark.one_database, pytest.mark.usefixtures("plans")]


async def correct(database: Database, operator: Context, state: str, now: Any = NOON, **said: Any) -> str:
    correction = Correction.model_validate({"state": state, "told_by": "Ada", "note": "A mistake.", **said})
    async with database.transaction(operator) as tx:
        return (await service.correct(tx, correction, now=now)).receipt


async def test_a_correction_holds_against_what_is_older_and_not_against_what_is_newer(
    database: Database, operator: Context, context: Context
) -> None:
    await tell(database, operator, a_signal("activate", NOON - 3 * HOUR), a_signal("suspend", NOON - 2 * HOUR))
    assert await correct(database, operator, "active") == "accepted"
    await tell(database, operator, a_signal("deactivate", NOON - HOUR), now=NOON + HOUR)
    assert await state(database, context, NOON + HOUR) == "active"
    await tell(database, operator, a_signal("suspend", NOON + HOUR), now=NOON + 2 * HOUR)
    assert await state(database, context, NOON + 2 * HOUR) == "suspended"
    async with database.transaction(operator) as tx:
        [kept] = [each for each in await service.list_signals(tx) if each.signal == "correct"]
    assert (kept.told_by, kept.note) == ("Ada", "A mistake.")


async def test_a_correction_wins_over_a_source_whose_clock_is_ahead(
    database: Database, operator: Context, context: Context
) -> None:
    await tell(database, operator, a_signal("activate", NOON + 3 * HOUR))
    await correct(database, operator, "suspended")
    assert await state(database, context) == "suspended"
    await tell(database, operator, a_signal("resume", NOON + 2 * HOUR), now=NOON + 2 * HOUR)
    assert await state(database, context, NOON + 2 * HOUR) == "suspended"


@pytest.mark.parametrize("to", ["pending", "active", "grace", "suspended", "expired", "deactivated"])
async def test_a_correction_leads_from_everywhere_to_everywhere(
    database: Database, operator: Context, context: Context, to: str
) -> None:
    said: dict[str, Any] = {"plan_id": "pro"} | ({"grace_seconds": 3600} if to == "grace" else {})
    told = [
        a_signal("activate", NOON - 5 * HOUR, ends_at=NOON - 4 * HOUR),
        a_signal("deactivate", NOON - 3 * HOUR),
    ]
    await tell(database, operator, *told)
    await correct(database, operator, to, **said)
    assert (await status(database, context)).state == to
    held = await plan(database, context)
    assert held == {
        "active": ("pro", "enabled", None),
        "grace": ("pro", "grace", NOON + HOUR),
        "pending": None,
    }.get(to, ("pro", "disabled", None))


async def test_a_correction_without_any_plan_gives_nothing_and_says_why(
    database: Database, operator: Context, context: Context
) -> None:
    await correct(database, operator, "active")
    async with database.transaction(operator) as tx:
        [kept] = await service.list_signals(tx)
    assert (kept.outcome, kept.reason) == ("ignored", "no plan is known")
    assert await state(database, context) == "pending"
