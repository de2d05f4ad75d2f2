"""Costs of runs: fixed when a step is recorded, summed exactly, and never other than the sum of the steps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from tests.integration.agents.desk import LedgerDesk

from datalane.agents.runs.schemas import NewStep
from datalane.agents.versions.models import register_model
from datalane.agents.versions.prices import create_price
from datalane.agents.versions.schemas import NewAgentModel, NewModelPrice
from datalane.contracts.context import Role

pytestmark = pytest.mark.one_database


@dataclass
class Shop:
    desk: LedgerDesk
    model: UUID

    async def price(self, per_million: str, currency: str = "USD", model: UUID | None = None) -> None:
        new = NewModelPrice(
            model_version_id=model or self.model,
            currency=currency,
            input_per_million=Decimal(per_million),
            cached_input_per_million=Decimal(per_million) / 10,
            output_per_million=Decimal(per_million) * 5,
        )
        async with self.desk.database.transaction(self.desk.acting(Role.ADMIN).context) as tx:
            await create_price(tx, new)

    async def other_model(self) -> UUID:
        return await register(self.desk, "owl-2")

    def step(self, **said: Any) -> NewStep:
        usual = {"model_version_id": self.model, "input_tokens": 1_000, "output_tokens": 100}
        return NewStep(kind="model", name="chat", **{**usual, **said})


async def register(desk: LedgerDesk, model: str) -> UUID:
    async with desk.database.transaction(desk.context) as tx:
        return (await register_model(tx, NewAgentModel(provider="owls", model=model))).model_version_id


@pytest.fixture
async def shop(desk: LedgerDesk) -> Shop:
    return Shop(desk, await register(desk, "owl-1"))


async def test_a_step_costs_what_its_price_says_to_the_last_digit(shop: Shop) -> None:
    await shop.price("3.0000001")
    run = await shop.desk.hold()
    [cost] = await shop.desk.record(run, shop.step(cached_input_tokens=400))
    price = Decimal("3.0000001")
    assert cost == (600 * price + 400 * price / 10 + 100 * price * 5) / 1_000_000


async def test_a_price_that_comes_while_a_run_goes_on_changes_none_of_its_costs(shop: Shop) -> None:
    await shop.price("3")
    run = await shop.desk.hold()
    await shop.desk.record(run, shop.step())
    await shop.price("30")
    await shop.desk.record(run, shop.step())
    told = await shop.desk.end(run)
    assert {step.cost for step in told.steps} == {Decimal("0.0045")}
    later = await shop.desk.hold()
    assert await shop.desk.record(later, shop.step()) == [Decimal("0.045")]


async def test_the_total_is_the_sum_of_the_steps_also_of_those_that_failed(shop: Shop) -> None:
    await shop.price("3")
    run = await shop.desk.hold()
    failed = shop.step(error_class="provider_error", attempt=1, output_tokens=0)
    await shop.desk.record(run, failed, shop.step(attempt=2))
    await shop.desk.record(run, *[shop.step(input_tokens=number) for number in range(1, 50)])
    told = await shop.desk.end(run)
    costs = [step.cost for step in told.steps if step.cost is not None]
    assert (told.cost, told.currency, len(costs)) == (sum(costs), "USD", 51)
    assert told.input_tokens == sum(step.input_tokens or 0 for step in told.steps)


@pytest.mark.parametrize("unknown", [{"input_tokens": None}, {"output_tokens": None}])
async def test_unknown_usage_has_no_cost_and_neither_has_its_run(shop: Shop, unknown: dict[str, None]) -> None:
    await shop.price("3")
    run = await shop.desk.hold()
    assert await shop.desk.record(run, shop.step(**unknown), shop.step()) == [None, Decimal("0.0045")]
    told = await shop.desk.end(run)
    assert (told.cost, told.known_cost, told.unpriced_steps) == (None, Decimal("0.0045"), 1)
    assert told.unmeasured_steps == 1


async def test_a_model_without_a_price_has_no_cost_and_a_run_without_a_model_costs_nothing(shop: Shop) -> None:
    run, idle = await shop.desk.hold(), await shop.desk.hold()
    assert await shop.desk.record(run, shop.step()) == [None]
    await shop.desk.record(idle, NewStep(kind="custom", name="think"))
    assert (await shop.desk.end(run)).cost is None
    assert (await shop.desk.end(idle)).cost == 0


async def test_costs_of_two_currencies_are_never_added(shop: Shop) -> None:
    other = await shop.other_model()
    await shop.price("3")
    await shop.price("3", "EUR", other)
    run = await shop.desk.hold()
    await shop.desk.record(run, shop.step())
    assert await shop.desk.record(run, shop.step(model_version_id=other)) == [Decimal("0.0045")]
    told = await shop.desk.end(run)
    assert (told.known_cost, told.currency, told.cost, told.unpriced_steps) == (Decimal("0.0045"), "USD", None, 1)


async def test_nobody_writes_a_price_into_the_past(shop: Shop) -> None:
    before = datetime.fromisoformat("2020-01-01T00:00:00+00:00")
    insert = """INSERT INTO datalane.agent_prices (workspace_id, price_version_id, model_version_id, currency,
        input_per_million, output_per_million, effective_at, created_at, created_by_actor_id)
        VALUES (app.workspace_id(), app.uuid7(), $1, 'USD', 1, 1, $2, now(), app.actor_id())"""
    with pytest.raises(Exception, match="no_price_begins_before_it_was_said"):
        await shop.desk.acting(Role.ADMIN).rows(insert, shop.model, before)
