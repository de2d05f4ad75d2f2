"""`datalane plans` and `datalane usage`: the operator gives a plan, sees what is used, and corrects it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from datalane.access.entitlements.plans import Plan, Plans, Quota, register_plans
from datalane.access.usage import service
from datalane.contracts.context import Context
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.engine.registration import register
from datalane.kit.ids import uuid7

Run = Callable[..., Awaitable[Any]]


@pytest.fixture
def datalane_here(urls: Prepared, home: Path, datalane: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`await datalane_here("usage", "show", …)` on this test's lane."""
    for name, value in (urls.as_environment() | {"DATALANE_HOME": str(home)}).items():
        monkeypatch.setenv(name, value)

    async def run(*arguments: str) -> Any:
        return await asyncio.to_thread(datalane, *arguments)

    return run


@pytest.fixture
async def workspace(database: Database) -> str:
    plans = Plans()
    plans.add(Plan("shop", ("search",), {"reports": Quota(10, "day")}))
    await register(database, {}, [], list(EVENTS))
    await register_plans(database, plans)
    return str(uuid7())


async def test_an_operator_gives_a_plan_and_corrects_what_was_used(
    database: Database, workspace: str, datalane_here: Run
) -> None:
    of, why = ("-w", workspace), ("--reason", "a test", "--by", "ada")
    given = await datalane_here("plans", "assign", "shop", *of, *why, "--json")
    assert given.status == 0, given.err
    async with database.transaction(Context.system(UUID(workspace))) as tx:
        await service.use(tx, "reports", 7, idempotency_key="use")
    shown = await datalane_here("plans", "show", *of)
    assert "plan shop version 1, enabled (by operator)" in shown.out
    assert "reports" in shown.out
    done = await datalane_here("usage", "correct", "reports", *of, *why, "--units", "-3", "--key", "c1", "--json")
    assert (done.json["consumed_units"], done.json["outcome"]) == (4, "accepted")
    again = await datalane_here("usage", "correct", "reports", *of, *why, "--units", "-3", "--key", "c1")
    assert "was corrected so before: 4 units" in again.out
    ledger = await datalane_here("usage", "ledger", "reports", *of)
    assert "a test (by ada)" in ledger.out
    more = await datalane_here("plans", "override-quota", "reports", *of, *why, "--limit", "20", "--json")
    counter = (await datalane_here("usage", "show", *of, "--json")).json["data"]
    assert [(each["limit_units"], each["remaining_units"]) for each in counter] == [(20, 16)]
    ended = await datalane_here("plans", "end-override", str(more.json["override_id"]), *of, *why)
    assert ended.out.strip() == "ended"
    until = "2999-01-01T00:00:00Z"
    late = await datalane_here("plans", "recover", "reports", *of, *why, "--until", until)
    assert (late.status, "seven days" in late.err) == (2, True)
    reset = await datalane_here("usage", "reset", "reports", *of, *why)
    assert reset.out.strip() == "4 units were taken back"
    none = await datalane_here("usage", "differences", *of)
    assert (none.status, none.out.strip()) == (0, "every counter is the sum of its ledger")
    repaired = await datalane_here("usage", "repair", "reports", *of, *why)
    assert repaired.out.strip() == "0 counters were repaired"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("plans", "assign", "none"), "there is no plan none"),
        (("plans", "assign", "shop", "--status", "half"), "--status is enabled, grace or disabled"),
        (("plans", "assign", "shop", "--until", "tomorrow"), "is no time"),
        (("plans", "assign", "shop", "--until", "2031-01-01T00:00:00"), "has no offset"),
        (("usage", "correct", "reports", "--units", "1"), "the workspace has no plan"),
    ],
)
async def test_what_cannot_be_done_says_why(
    workspace: str, datalane_here: Run, words: tuple[str, ...], said: str
) -> None:
    refused = await datalane_here(*words, "-w", workspace, "--reason", "a test")
    assert (refused.status, said in refused.err) == (2, True), refused.err


async def test_a_plan_that_is_retired_is_given_to_nobody(workspace: str, datalane_here: Run) -> None:
    assert (await datalane_here("plans", "retire", "shop")).out.strip() == "retired"
    refused = await datalane_here("plans", "assign", "shop", "-w", workspace, "--reason", "a test")
    assert (refused.status, "it is retired" in refused.err) == (2, True)
