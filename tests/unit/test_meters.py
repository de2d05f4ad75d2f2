"""Meters ask whoever bounds them, and only about what is bounded."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

import pytest

from datalane.db.transaction import Transaction
from datalane.engine.meters import Adding, Bound, Meters, Refusal
from datalane.errors import ConfigurationError, InvalidInput

NOW = datetime(2026, 5, 1, tzinfo=UTC)
NO_DATABASE = cast(Transaction, None)


def bound_at(most: int, asked: list[Mapping[str, Adding]]) -> Bound:
    async def bound(tx: Any, adding: Mapping[str, Adding], now: datetime) -> Refusal | None:
        asked.append(adding)
        over = next((name for name, added in adding.items() if added.amount > most), None)
        return None if over is None else Refusal(over, f"at most {most}")

    return bound


async def test_every_bound_of_a_meter_is_asked_until_one_refuses() -> None:
    meters, asked = Meters(), list[Mapping[str, Adding]]()
    meters.name("mail", "paper")
    meters.bound(["mail"], bound_at(10, asked))
    meters.bound(["mail", "paper"], bound_at(5, asked))
    meters.bound(["mail"], bound_at(0, asked))
    assert await meters.ask(NO_DATABASE, {"mail": Adding(Decimal(7)), "paper": Adding()}, NOW) == Refusal(
        "mail", "at most 5"
    )
    assert [set(each) for each in asked] == [{"mail"}, {"mail", "paper"}]
    assert await meters.ask(NO_DATABASE, {"paper": Adding(Decimal(5))}, NOW) is None
    assert [set(each) for each in asked[2:]] == [{"paper"}]


async def test_a_meter_that_is_not_there_is_neither_bounded_nor_asked() -> None:
    meters = Meters()
    meters.name("mail")
    with pytest.raises(ConfigurationError, match="there is no meter post"):
        meters.bound(["post"], bound_at(1, []))
    with pytest.raises(ConfigurationError, match="a meter mail already"):
        meters.name("mail")
    with pytest.raises(InvalidInput, match="there is no meter 'post'"):
        await meters.ask(NO_DATABASE, {"post": Adding()}, NOW)


async def test_meters_that_are_taken_over_bound_once_what_both_bound() -> None:
    first, second, asked = Meters(), Meters(), list[Mapping[str, Adding]]()
    both, alone = bound_at(9, asked), bound_at(3, asked)
    for meters in (first, second):
        meters.name("mail")
        meters.bound(["mail"], both)
    second.name("paper")
    second.bound(["paper"], alone)
    first.take_over(second)
    assert await first.ask(NO_DATABASE, {"mail": Adding(), "paper": Adding(Decimal(4))}, NOW) == Refusal(
        "paper", "at most 3"
    )
    assert [set(each) for each in asked] == [{"mail"}, {"paper"}]


@pytest.mark.parametrize("amount", [Decimal(-1), Decimal("NaN")])
async def test_a_meter_never_goes_backwards(amount: Decimal) -> None:
    meters = Meters()
    meters.name("mail")
    with pytest.raises((InvalidInput, ArithmeticError)):
        await meters.ask(NO_DATABASE, {"mail": Adding(amount)}, NOW)


@pytest.mark.parametrize("holds", [True, False])
async def test_a_bound_says_whether_it_is_one_for_a_workspace(holds: bool) -> None:
    async def here(tx: Any) -> bool:
        return holds

    meters = Meters()
    meters.name("mail", "paper")
    meters.bound(["mail"], bound_at(1, []), here)
    assert await meters.is_bounded(NO_DATABASE, "mail", "paper") is holds
    assert not await meters.is_bounded(NO_DATABASE, "paper")
    meters.bound(["paper"], bound_at(1, []))
    assert await meters.is_bounded(NO_DATABASE, "paper")
