"""What a call costs: the formula, what is not known, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalane.agents.costs import MOST_TOKENS, Usage, cost_of
from datalane.errors import InvalidInput


@dataclass(frozen=True)
class Price:
    input_per_million: Decimal = Decimal("3")
    output_per_million: Decimal = Decimal("15")
    cached_input_per_million: Decimal | None = Decimal("0.30")
    reasoning_per_million: Decimal | None = None


def test_a_cost_is_exact_and_parts_cost_what_they_cost_and_not_twice() -> None:
    assert cost_of(Usage(1_000, 400, 100, 30), Price()) == Decimal("0.00342")
    assert cost_of(Usage(1_000, 400, 100, 30), Price(reasoning_per_million=Decimal(20))) == Decimal("0.00357")
    assert cost_of(Usage(1, 0, 0, 0), Price(input_per_million=Decimal("0.0000000001"))) == Decimal("1E-16")


def test_parts_without_a_price_of_their_own_cost_as_the_whole() -> None:
    usage = Usage(1_000, 400, 100, 30)
    same = Price(cached_input_per_million=Decimal(3), reasoning_per_million=Decimal(15))
    assert cost_of(usage, Price(cached_input_per_million=None)) == cost_of(usage, same) == Decimal("0.0045")


def test_a_price_of_zero_for_a_part_is_zero_and_not_the_price_of_the_whole() -> None:
    free = Price(cached_input_per_million=Decimal(0), reasoning_per_million=Decimal(0))
    assert cost_of(Usage(10, 10, 10, 10), free) == 0


@pytest.mark.parametrize("usage", [Usage(), Usage(None, 0, 1, 0), Usage(1, 0, None, 0), Usage(cached_input_tokens=5)])
def test_what_is_not_known_has_no_cost_rather_than_none_to_pay(usage: Usage) -> None:
    assert cost_of(usage, Price()) is None


def test_nothing_used_costs_zero_and_without_a_price_nothing_is_known() -> None:
    assert cost_of(Usage(0, 0, 0, 0), Price()) == 0
    assert cost_of(Usage(0, 0, 0, 0), None) is None


def test_parts_that_are_not_known_count_as_none() -> None:
    assert cost_of(Usage(10, None, 10, None), Price()) == cost_of(Usage(10, 0, 10, 0), Price())


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("input_tokens", {"input_tokens": -1}),
        ("output_tokens", {"output_tokens": MOST_TOKENS + 1}),
        ("cached_input_tokens", {"input_tokens": 1, "cached_input_tokens": 2}),
        ("reasoning_tokens", {"output_tokens": 0, "reasoning_tokens": 1}),
        ("reasoning_tokens", {"reasoning_tokens": True}),
        ("input_tokens", {"input_tokens": 1.0}),
        ("input_tokens", {"input_tokens": "1"}),
    ],
)
def test_usage_that_cannot_be_is_refused_by_its_field(field: str, said: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as refused:
        Usage(**said)
    assert [error["field"] for error in refused.value.errors] == [field]
    assert field in str(refused.value)


tokens = st.integers(0, MOST_TOKENS)
amounts = st.decimals(0, Decimal("9999999999.9999999999"), places=10)


@given(tokens, tokens, amounts, amounts, st.data())
def test_a_part_that_costs_less_never_makes_a_call_dearer(
    input_tokens: int, output_tokens: int, of_input: Decimal, of_output: Decimal, data: st.DataObject
) -> None:
    usage = Usage(
        input_tokens,
        data.draw(st.integers(0, input_tokens)),
        output_tokens,
        data.draw(st.integers(0, output_tokens)),
    )
    plain = cost_of(Usage(input_tokens, 0, output_tokens, 0), Price(of_input, of_output))
    cheaper = Price(of_input, of_output, data.draw(st.decimals(0, of_input, places=10)), of_output)
    cost = cost_of(usage, cheaper)
    assert plain is not None
    assert cost is not None
    assert 0 <= cost <= plain
