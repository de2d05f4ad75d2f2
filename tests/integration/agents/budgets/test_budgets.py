"""Budgets bound what agents use: before a call, exactly, and for the workspace that set them alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from pydantic import ValidationError
from tests.conftest import a_context
from tests.integration.agents.desk import LedgerDesk, statuses

from datalane.agents.budgets import service
from datalane.agents.budgets.admitting import begin_admitted, check_call, register_meters
from datalane.agents.budgets.schemas import COST, TOKENS, Budget, BudgetTarget, NewBudget
from datalane.agents.recorder import Agents, BudgetExceeded
from datalane.agents.recorder.toolbox import Toolbox
from datalane.agents.runs.recording import record_steps
from datalane.agents.runs.schemas import HeldRun, NewRun, NewStep
from datalane.agents.versions.models import register_model
from datalane.agents.versions.prices import create_price
from datalane.agents.versions.schemas import NewAgentModel, NewModelPrice
from datalane.contracts.context import Role
from datalane.db.database import Database
from datalane.db.transaction import Transaction
from datalane.engine.meters import Adding, Meters, Refusal
from datalane.errors import Forbidden, LeaseLost, NotFound

pytestmark = pytest.mark.one_database


@pytest.fixture
def meters() -> Meters:
    made = Meters()
    register_meters(made)
    return made


@pytest.fixture
def agents(desk: LedgerDesk, meters: Meters) -> Agents:
    return Agents(desk.database.transaction, Toolbox(), meters)


async def bound(desk: LedgerDesk, meter: Any = TOKENS, period: Any = "day", limit: Any = 100, **said: Any) -> Budget:
    async with desk.database.transaction(replace(desk.context, role=Role.ADMIN)) as tx:
        return await service.set_budget(tx, NewBudget(meter=meter, period=period, limit=limit, **said))


async def budgets(desk: LedgerDesk, now: datetime | None = None) -> dict[str, Decimal]:
    async with desk.database.transaction(desk.context) as tx:
        listed = await service.list_budgets(tx, now)
    return {f"{each.meter}/{each.period}": each.used for each in listed.data}


async def priced_model(desk: LedgerDesk, currency: str = "USD") -> UUID:
    """3 a million tokens in, 15 out."""
    async with desk.database.transaction(replace(desk.context, role=Role.ADMIN)) as tx:
        model = await register_model(tx, NewAgentModel(provider="lab", model=f"owl-{currency}"))
        price = NewModelPrice(
            model_version_id=model.model_version_id,
            currency=currency,
            input_per_million=Decimal(3),
            output_per_million=Decimal(15),
        )
        await create_price(tx, price)
    return model.model_version_id


def a_step(tokens: int, **said: Any) -> NewStep:
    return NewStep(kind="model", name="chat", input_tokens=tokens, output_tokens=0, **said)


async def ask(desk: LedgerDesk, meters: Meters, run: HeldRun, tokens: int = 0, model: UUID | None = None) -> bool:
    """Whether a call may be made."""
    async with desk.database.transaction(desk.context) as tx:
        return await check_call(tx, meters, run, tokens, model) is None


async def test_a_call_that_would_pass_the_budget_is_blocked_before_it_is_made(desk: LedgerDesk, agents: Agents) -> None:
    await bound(desk, limit=100)
    called: list[int] = []

    async def work() -> None:
        async with agents.run(desk.context, "helper") as run:
            for tokens in (60, 40, 1):
                async with run.step("model", "chat", expects_tokens=tokens) as step:
                    called.append(tokens)
                    step.count(input_tokens=tokens - 1, output_tokens=1)

    with pytest.raises(BudgetExceeded, match="100 of 100 tokens a day are used, and 1 more are expected"):
        await work()
    [(run_id,)] = await desk.rows("SELECT run_id FROM datalane.agent_runs")
    told = await desk.show(run_id)
    assert (told.status, told.error_class, called, len(told.steps)) == ("blocked_policy", "policy_denied", [60, 40], 2)


async def test_a_run_begins_blocked_when_the_budget_is_used_up(desk: LedgerDesk, agents: Agents) -> None:
    await bound(desk, limit=10)
    await desk.record(await desk.hold(), a_step(10))
    with pytest.raises(BudgetExceeded) as refused:
        await agents.run(desk.context, "helper").__aenter__()
    told = await desk.show(refused.value.run_id)
    assert statuses(told) == ["queued", "running", "blocked_policy"]
    assert told.error_message == "the budget of the workspace would not hold: 10 of 10 tokens a day are used"


async def test_a_queued_run_is_blocked_when_it_is_taken_up_too_late(desk: LedgerDesk, agents: Agents) -> None:
    await bound(desk, limit=10)
    queued = await desk.begin(runtime=None)
    await desk.record(await desk.hold(), a_step(11))
    with pytest.raises(BudgetExceeded):
        await agents.take(desk.context, queued.run_id, "helper").__aenter__()
    assert (await desk.show(queued.run_id)).status == "blocked_policy"


async def test_an_agent_may_go_on_without_the_call_that_was_refused(desk: LedgerDesk, agents: Agents) -> None:
    await bound(desk, limit=10)
    async with agents.run(desk.context, "helper") as run:
        with pytest.raises(BudgetExceeded):
            await run.step("model", "chat", expects_tokens=11).__aenter__()
        async with run.step("custom", "by hand"):
            run.output = "By hand."
    assert (await desk.show(run.run_id)).status == "completed"


async def test_a_call_that_began_within_the_budget_may_end_over_it_and_the_next_one_is_blocked(
    desk: LedgerDesk, meters: Meters
) -> None:
    await bound(desk, limit=10)
    run = await desk.hold()
    assert await ask(desk, meters, run, 10)
    await desk.record(run, a_step(1_000))
    assert not await ask(desk, meters, run)


async def test_money_is_bounded_by_the_dearest_rate_of_what_is_expected(desk: LedgerDesk, meters: Meters) -> None:
    model, other = await priced_model(desk), await priced_model(desk, "EUR")
    await bound(desk, COST, "month", "0.15", currency="USD")
    run = await desk.hold()
    assert await ask(desk, meters, run, 10_000, model)
    assert not await ask(desk, meters, run, 10_001, model)
    assert await ask(desk, meters, run, 10_001, other), "the budget is one of dollars"
    assert await ask(desk, meters, run, 10_001), "without a model there is no price"
    await desk.record(run, a_step(10_000, model_version_id=other), a_step(1_000, model_version_id=model), a_step(9))
    assert await budgets(desk) == {"agent.cost/month": Decimal("0.003")}
    await desk.record(run, a_step(49_000, model_version_id=model))
    assert not await ask(desk, meters, run), "0.15 of 0.15 are used"


async def test_a_period_ends_with_the_day_or_the_month_of_utc(desk: LedgerDesk, meters: Meters) -> None:
    await bound(desk, TOKENS, "day", 5)
    await bound(desk, TOKENS, "month", 7)
    run = await desk.hold()
    last, first = datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    async with desk.database.transaction(desk.context) as tx:
        await record_steps(tx, run, [a_step(2)], datetime(2026, 1, 1, tzinfo=UTC))
        await record_steps(tx, run, [a_step(5)], last)
        assert [each.left for each in (await service.list_budgets(tx, last)).data] == [0, 0]
        assert await check_call(tx, meters, run, now=last) is not None
        assert await check_call(tx, meters, run, now=first) is None
        day, month = (await service.list_budgets(tx, last)).data
    assert (day.period_start, day.period_end) == (datetime(2026, 1, 31, tzinfo=UTC), first)
    assert (month.period_start, month.period_end, int(month.used)) == (datetime(2026, 1, 1, tzinfo=UTC), first, 7)
    assert await budgets(desk, first) == {"agent.tokens/day": 0, "agent.tokens/month": 0}


async def test_nothing_may_be_used_of_a_budget_of_nothing(desk: LedgerDesk, meters: Meters) -> None:
    await bound(desk, limit=0)
    async with desk.database.transaction(desk.context) as tx:
        begun = await begin_admitted(tx, meters, NewRun(agent="helper", runtime="first"))
    assert (begun.lease_token, begun.created) == (None, True)
    assert begun.refused is not None


async def test_a_budget_is_of_one_workspace(desk: LedgerDesk, meters: Meters) -> None:
    await bound(desk, limit=0)
    other = LedgerDesk(desk.database, a_context())
    run = await other.hold()
    assert await ask(other, meters, run, 1_000)
    await other.record(run, a_step(9))
    assert await budgets(other) == {}
    assert await budgets(desk) == {"agent.tokens/day": 0}
    with pytest.raises(NotFound):
        await ask(desk, meters, run)


async def test_only_whoever_holds_the_run_asks_for_it(desk: LedgerDesk, meters: Meters) -> None:
    run = await desk.hold()
    with pytest.raises(LeaseLost):
        await ask(desk, meters, run.model_copy(update={"lease_token": 2}))
    await desk.end(run)
    with pytest.raises(LeaseLost):
        await ask(desk, meters, run)


async def test_other_bounds_of_the_same_meter_are_asked_too(desk: LedgerDesk, meters: Meters) -> None:
    async def plan(tx: Any, adding: Any, now: datetime) -> Refusal | None:
        return Refusal(TOKENS, "the plan has 50 tokens") if adding[TOKENS].amount > 50 else None

    meters.bound([TOKENS], plan)
    run = await desk.hold()
    assert (await ask(desk, meters, run, 50), await ask(desk, meters, run, 51)) == (True, False)


async def test_what_was_set_and_removed_is_in_the_audit_log(desk: LedgerDesk) -> None:
    await bound(desk, limit=5)
    await bound(desk, limit=5)
    await bound(desk, limit=7)
    async with desk.database.transaction(replace(desk.context, role=Role.ADMIN)) as tx:
        await service.remove_budget(tx, BudgetTarget(meter=TOKENS, period="day"))
        with pytest.raises(NotFound):
            await service.remove_budget(tx, BudgetTarget(meter=TOKENS, period="day"))
        rows = await tx.fetch(
            "SELECT action, before, after FROM datalane.audit_records WHERE resource_type = 'agent_budget' "
            "ORDER BY audit_id"
        )
    told = [(row["action"], (row["before"] or {}).get("limit"), (row["after"] or {}).get("limit")) for row in rows]
    set_, removed = "agent_budget.set", "agent_budget.removed"
    assert told == [(set_, None, "5"), (set_, "5", "7"), (removed, "7", None)]


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER])
async def test_a_member_moves_no_budget_and_writes_no_usage(desk: LedgerDesk, role: Role) -> None:
    await bound(desk, limit=5)
    await desk.record(await desk.hold(), a_step(5))
    low = desk.acting(role)
    async with low.database.transaction(low.context) as tx:
        with pytest.raises(Forbidden):
            await service.set_budget(tx, NewBudget(meter=TOKENS, period="day", limit=Decimal(9)))
        assert await tx.connection.execute("UPDATE datalane.agent_budgets SET most = 9") == "UPDATE 0"
        assert await tx.connection.execute("DELETE FROM datalane.agent_budgets") == "DELETE 0"
    for statement in ("UPDATE datalane.agent_usage SET used = 1", "DELETE FROM datalane.agent_usage"):
        with pytest.raises((Forbidden, asyncpg.InsufficientPrivilegeError)):
            await low.rows(statement)
    with pytest.raises((Forbidden, asyncpg.PostgresError)):
        await low.rows(
            "SELECT datalane.count_agent_usage($1, 'agent.tokens', 'tokens', 1, now())", low.context.workspace_id
        )


@pytest.mark.parametrize(
    "said",
    [
        {"limit": "-1"},
        {"limit": "NaN"},
        {"limit": "Infinity"},
        {"limit": "1.5"},
        {"limit": "1e30"},
        {"meter": "agent.time"},
        {"period": "year"},
        {"currency": "USD"},
        {"meter": COST},
        {"meter": COST, "currency": "usd"},
        {"meter": COST, "currency": "USD", "limit": "0.12345678901"},
    ],
)
def test_a_budget_that_is_none_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        NewBudget(**{"meter": TOKENS, "period": "day", "limit": 1, **said})


async def test_a_hundred_runs_at_once_wait_for_nobody_and_are_counted_exactly(desk: LedgerDesk, urls: Any) -> None:
    model = await priced_model(desk)
    await bound(desk, TOKENS, "month", 10**9)
    await bound(desk, COST, "month", 10**6, currency="USD")
    pool = await Database.connect(urls.database_url, size=40)
    crowd = LedgerDesk(pool, desk.context)
    try:
        runs = [await desk.hold() for _ in range(100)]

        async def record(run: HeldRun, number: int) -> None:
            """Three transactions; every tenth of them is rolled back."""
            for tokens in (number, 7, 1_000 + number):
                try:
                    async with crowd.database.transaction(crowd.context) as tx:
                        await record_steps(tx, run, [a_step(tokens, model_version_id=model), a_step(1)])
                        if (number + tokens) % 10 == 0:
                            raise ZeroDivisionError
                except ZeroDivisionError:
                    continue

        async with asyncio.timeout(60):
            await asyncio.gather(*(record(run, number) for number, run in enumerate(runs)))
    finally:
        await pool.close()
    [(tokens, cost)] = await desk.rows(
        "SELECT sum(input_tokens + output_tokens), sum(cost) FROM datalane.agent_steps WHERE workspace_id = $1",
        desk.context.workspace_id,
    )
    assert await budgets(desk) == {"agent.tokens/month": tokens, "agent.cost/month": cost}
    said = [(number, tokens) for number in range(100) for tokens in (number, 7, 1_000 + number)]
    assert tokens == sum(tokens + 1 for number, tokens in said if (number + tokens) % 10)


async def test_one_who_counts_does_not_wait_for_another_who_has_counted(desk: LedgerDesk) -> None:
    """The first transaction stays open, with its count in it, while the second one counts and commits."""
    await bound(desk, limit=10**6)
    first, second = await desk.hold(), await desk.hold()
    await desk.record(first, a_step(1))
    async with desk.database.transaction(desk.context) as tx:
        await record_steps(tx, first, [a_step(10)])
        async with asyncio.timeout(5):
            await asyncio.create_task(desk.record(second, a_step(100)))
        await record_steps(tx, first, [a_step(1_000)])
    assert await budgets(desk) == {"agent.tokens/day": 1_111}
    assert len(await desk.rows("SELECT slot FROM datalane.agent_usage")) == 2
    await desk.record(second, a_step(10_000))
    assert len(await desk.rows("SELECT slot FROM datalane.agent_usage")) == 2, "a row that is free is used again"


async def test_an_application_that_bounds_the_meters_is_asked_before_every_call(
    desk: LedgerDesk, agents: Agents, meters: Meters
) -> None:
    asked: list[Decimal] = []

    async def refuse_the_third(tx: Transaction, adding: Mapping[str, Adding], now: datetime) -> Refusal | None:
        asked.append(adding[TOKENS].amount)
        return Refusal(TOKENS, "it is enough") if len(asked) > 3 else None

    async def work() -> None:
        async with agents.run(desk.context, "helper") as run:
            for tokens in (1, 2, 3):
                async with run.step("model", "chat", expects_tokens=tokens):
                    pass

    meters.bound([TOKENS], refuse_the_third)
    with pytest.raises(BudgetExceeded, match="it is enough"):
        await work()
    assert asked == [0, 1, 2, 3]
