"""Prices: said once, in force from a moment that is not past; and costs, the same in SQL as in Python."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import psycopg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.integration.agents.versions.conftest import Desk

from datalane.agents.costs import MOST_TOKENS, Usage, cost_of
from datalane.agents.versions import prices
from datalane.agents.versions.schemas import NewModelPrice
from datalane.contracts.context import Role
from datalane.db.provision import Prepared
from datalane.engine.audit import list_records
from datalane.errors import Conflict, Forbidden, InvalidInput, NotFound
from datalane.kit.ids import uuid7

pytestmark = pytest.mark.one_database

START = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


async def price_at(desk: Desk, model_version_id: UUID, at: datetime) -> UUID | None:
    [(found,)] = await desk.run("SELECT datalane.agent_price_at($1, $2)", model_version_id, at)
    return found if found is None else UUID(str(found))


async def test_a_price_holds_from_its_moment_until_the_next_one(desk: Desk) -> None:
    model = (await desk.model()).model_version_id
    first = await desk.price(model, START)
    later = await desk.price(model, START, effective_at=START + 10 * DAY)
    between = await desk.price(model, START, effective_at=START + 5 * DAY)
    for days, price in ((0, first), (4, first), (5, between), (9.9, between), (10, later), (5_000, later)):
        assert await price_at(desk, model, START + days * DAY) == price.price_version_id
    assert await price_at(desk, model, START - timedelta(microseconds=1)) is None
    assert await price_at(desk, (await desk.model("owl-2")).model_version_id, START) is None


async def test_a_price_that_comes_later_changes_no_cost(desk: Desk) -> None:
    model = (await desk.model()).model_version_id
    first = await desk.price(model, START)
    asked = [START + n * DAY for n in range(10)]
    before = [await price_at(desk, model, at) for at in asked]
    now = asked[-1] + timedelta(microseconds=1)
    with pytest.raises(InvalidInput, match="must not be past") as refused:
        await desk.price(model, now, effective_at=now - timedelta(microseconds=1))
    assert refused.value.errors[0]["field"] == "body.effective_at"
    await desk.price(model, now, input_per_million=Decimal(99), effective_at=now)
    assert [await price_at(desk, model, at) for at in asked] == before == [first.price_version_id] * 10


async def test_two_prices_of_a_model_do_not_begin_at_the_same_time(desk: Desk) -> None:
    model = (await desk.model()).model_version_id
    told = await asyncio.gather(*(desk.price(model, START) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(one, Conflict) for one in told) == 3
    assert (await desk.price((await desk.model("owl-2")).model_version_id, START)).effective_at == START
    async with desk.database.transaction(desk.context) as tx:
        assert len((await prices.list_prices(tx, model)).data) == 1
        assert len((await prices.list_prices(tx)).data) == 2


async def test_a_price_is_read_as_it_was_said_and_on_record(desk: Desk) -> None:
    model = (await desk.model()).model_version_id
    said = {"cached_input_per_million": Decimal("0.0000000001"), "input_per_million": Decimal("9999999999.9999999999")}
    made = await desk.price(model, START, **said)
    async with desk.database.transaction(desk.context) as tx:
        read = await prices.get_price(tx, made.price_version_id)
        [record] = await list_records(tx, action="agent_price.created")
    assert read == made
    assert (read.cached_input_per_million, read.reasoning_per_million) == (Decimal("0.0000000001"), None)
    assert (record.resource_id, record.after["input_per_million"]) == (
        str(made.price_version_id),
        "9999999999.9999999999",
    )
    assert read.model_dump(mode="json")["cached_input_per_million"] == "0.0000000001"


async def test_a_model_that_is_not_there_or_anothers_has_no_price(desk: Desk, other_desk: Desk) -> None:
    model = (await desk.model()).model_version_id
    price = await desk.price(model, START)
    for refused in (desk.price(uuid7()), other_desk.price(model)):
        with pytest.raises(NotFound) as told:
            await refused
        assert str(model) not in str(told.value)
    async with other_desk.database.transaction(other_desk.context) as tx:
        with pytest.raises(NotFound):
            await prices.get_price(tx, price.price_version_id)
        assert (await prices.list_prices(tx, model)).data == []
    assert await price_at(other_desk, model, START + DAY) is None


async def test_only_admins_set_prices(desk: Desk) -> None:
    model = (await desk.model()).model_version_id
    for role in (Role.VIEWER, Role.MEMBER):
        with pytest.raises(Forbidden, match=r"agent_price\.create"):
            await desk.acting(role).price(model)
    price = await desk.price(model, START)
    async with desk.database.transaction(desk.acting(Role.VIEWER).context) as tx:
        assert await prices.get_price(tx, price.price_version_id) == price


ADD = (
    "INSERT INTO datalane.agent_prices (workspace_id, price_version_id, model_version_id, currency, input_per_million, "
    "cached_input_per_million, output_per_million, reasoning_per_million, effective_at, created_at, "
    "created_by_actor_id) VALUES ($1, $2, $3, 'USD', 1, 2, 3, 4, now(), now(), $2)"
)


async def test_raw_sql_adds_prices_as_an_admin_and_changes_none_as_anybody(desk: Desk, other_desk: Desk) -> None:
    model, workspace = (await desk.model()).model_version_id, desk.context.workspace_id
    for role in (Role.VIEWER, Role.MEMBER):
        with pytest.raises(Forbidden):
            await desk.acting(role).run(ADD, workspace, uuid7(), model)
    with pytest.raises(Forbidden):
        await other_desk.run(ADD, workspace, uuid7(), model)
    with pytest.raises(asyncpg.ForeignKeyViolationError, match="prices_are_of_a_model"):
        await other_desk.run(ADD, other_desk.context.workspace_id, uuid7(), model)
    await desk.run(ADD, workspace, uuid7(), model)
    for change in ("UPDATE datalane.agent_prices SET input_per_million = 0", "DELETE FROM datalane.agent_prices"):
        with pytest.raises(Forbidden):
            await desk.acting(Role.OWNER).run(change)


@pytest.mark.parametrize(
    ("was", "said", "name"),
    [
        ("now(), now()", "now() - interval '1 microsecond', now()", "no_price_begins_before_it_was_said"),
        ("1, 2, 3, 4", "-0.0000000001, 2, 3, 4", "input_costs_nothing_or_more"),
        ("1, 2, 3, 4", "'NaN', 2, 3, 4", "input_costs_nothing_or_more"),
        ("1, 2, 3, 4", "1, 'NaN', 3, 4", "cached_input_costs_nothing_or_more"),
        ("1, 2, 3, 4", "1, 2, 'NaN', 4", "output_costs_nothing_or_more"),
        ("1, 2, 3, 4", "1, 2, 3, 'NaN'", "reasoning_costs_nothing_or_more"),
        ("'USD'", "'usd'", "a_currency_is_three_capitals"),
        ("'USD'", "'US'", "a_currency_is_three_capitals"),
    ],
)
async def test_raw_sql_cannot_set_a_price_that_is_none(desk: Desk, was: str, said: str, name: str) -> None:
    model = (await desk.model()).model_version_id
    with pytest.raises(asyncpg.CheckViolationError, match=name):
        await desk.run(ADD.replace(was, said), desk.context.workspace_id, uuid7(), model)
    with pytest.raises(asyncpg.NumericValueOutOfRangeError):
        await desk.run(ADD.replace("1, 2, 3", "'Infinity', 2, 3"), desk.context.workspace_id, uuid7(), model)


NO_AMOUNTS = [
    *(-1, -0.5, "-1", "NaN", float("nan"), float("inf"), "Infinity", "1e400", "1e2", 10**10, "0.00000000001", True),
    *(" 1", "1_000", "\u0661", "", "1.", ".5", "0x1", [1], {}, 0.1234567890123456, 123456789.12345678),
]


@pytest.mark.parametrize("amount", NO_AMOUNTS)
def test_an_amount_that_cannot_be_kept_exactly_is_refused(amount: Any) -> None:
    said: dict[str, Any] = {"model_version_id": uuid7(), "currency": "USD", "output_per_million": 1}
    with pytest.raises(ValidationError) as refused:
        NewModelPrice(**said, input_per_million=amount)
    assert {error["loc"] for error in refused.value.errors()} == {("input_per_million",)}


@pytest.mark.parametrize(
    ("amount", "kept"),
    [
        *((0, "0"), (2.5, "2.5"), ("0.15", "0.15"), (0.0000001, "0.0000001"), (9_999_999_999, "9999999999")),
        *(("9999999999.9999999999", "9999999999.9999999999"), (Decimal("1E+3"), "1000"), (100.0, "100"), ("007", "7")),
    ],
)
def test_an_amount_is_kept_to_the_last_digit(amount: Any, kept: str) -> None:
    said: dict[str, Any] = {"model_version_id": uuid7(), "currency": "USD", "output_per_million": 1}
    price = NewModelPrice(**said, input_per_million=amount)
    assert price.input_per_million == Decimal(kept)
    assert price.model_dump(mode="json")["input_per_million"] == kept


# Costs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Price:
    input_per_million: Decimal
    output_per_million: Decimal
    cached_input_per_million: Decimal | None
    reasoning_per_million: Decimal | None

    @property
    def in_order(self) -> tuple[Decimal | None, ...]:
        return (
            self.input_per_million,
            self.cached_input_per_million,
            self.output_per_million,
            self.reasoning_per_million,
        )


COST = (
    "SELECT datalane.agent_cost(%s::bigint, %s::bigint, %s::bigint, %s::bigint, %s::numeric, %s::numeric, %s::numeric, "
    "%s::numeric)"
)


tokens = st.one_of(st.none(), st.integers(0, 10_000_000), st.integers(0, MOST_TOKENS))
amounts = st.decimals(0, Decimal("9999999999.9999999999"), places=10)
MOST, LEAST = Decimal("9999999999.9999999999"), Decimal("0.0000000001")


def parts(whole: int | None) -> st.SearchStrategy[tuple[int | None, int | None]]:
    return st.tuples(st.just(whole), st.none() | st.integers(0, MOST_TOKENS if whole is None else whole))


def test_the_database_reckons_as_python_does_to_the_last_digit(urls: Prepared) -> None:
    with psycopg.connect(urls.database_url, autocommit=True) as connection:
        connection.execute("SET ROLE datalane_app")

        @settings(max_examples=300, deadline=None, database=None)
        @given(
            tokens.flatmap(parts), tokens.flatmap(parts), st.builds(Price, amounts, amounts, *[st.none() | amounts] * 2)
        )
        @example((MOST_TOKENS, MOST_TOKENS), (MOST_TOKENS, MOST_TOKENS), Price(MOST, MOST, MOST, MOST))
        @example((MOST_TOKENS, 1), (MOST_TOKENS, 1), Price(MOST, MOST, LEAST, LEAST))
        @example((1, 1), (1, 1), Price(LEAST, LEAST, LEAST, LEAST))
        @example((0, None), (0, None), Price(MOST, MOST, None, None))
        def reckon(
            of_input: tuple[int | None, int | None], of_output: tuple[int | None, int | None], price: Price
        ) -> None:
            row = connection.execute(COST, [*of_input, *of_output, *price.in_order]).fetchone()
            assert row is not None
            assert row[0] == cost_of(Usage(*of_input, *of_output), price)

        reckon()


@pytest.mark.parametrize(
    "said", [(1, 2, 1, 1), (1, 1, 1, 2), (-1, None, 1, None), (1, -1, 1, 0), (None, 0, 1, 0), (1, 0, None, 0)]
)
def test_the_database_knows_no_cost_of_what_cannot_be(urls: Prepared, said: tuple[int | None, ...]) -> None:
    with psycopg.connect(urls.database_url) as connection:
        connection.execute("SET ROLE datalane_app")
        row = connection.execute(COST, [*said, 1, 1, 1, 1]).fetchone()
        without = connection.execute(COST, [1, 0, 1, 0, None, None, None, None]).fetchone()
    assert (row, without) == ((None,), (None,))
