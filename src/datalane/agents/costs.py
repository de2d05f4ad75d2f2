"""What a call of a model costs: exact decimals of the price's currency, and None where something is not known.

Tokens are counted as the OpenTelemetry conventions for generative AI count them: `input_tokens` include the cached
ones, `output_tokens` include those of reasoning. So

    cost = ((input - cached) * input price + cached * cached price
            + (output - reasoning) * output price + reasoning * reasoning price) / 1,000,000

The SQL function `datalane.agent_cost` is the same formula.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Context, Decimal, Inexact, InvalidOperation, localcontext
from typing import Protocol

from datalane.errors import InvalidInput

MOST_TOKENS = 2**63 - 1
_EXACT = Context(prec=80, traps=[Inexact, InvalidOperation])
"""19 digits of tokens times 20 of a price, and the digits that adding four of them takes: nothing is ever rounded."""


class Rates(Protocol):
    """Prices of a million tokens. Without a price of their own, cached input costs as input, reasoning as output."""

    @property
    def input_per_million(self) -> Decimal: ...
    @property
    def cached_input_per_million(self) -> Decimal | None: ...
    @property
    def output_per_million(self) -> Decimal: ...
    @property
    def reasoning_per_million(self) -> Decimal | None: ...


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a call; None is not known, which is not 0.

    Raises `InvalidInput` naming the field that is negative, beyond 64 bits, or a part that is more than its whole.
    """

    input_tokens: int | None = None
    cached_input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            _check_count(each.name, getattr(self, each.name))
        _check_part("cached_input_tokens", self.cached_input_tokens, "input_tokens", self.input_tokens)
        _check_part("reasoning_tokens", self.reasoning_tokens, "output_tokens", self.output_tokens)


def cost_of(usage: Usage, price: Rates | None) -> Decimal | None:
    """The exact cost in the price's currency; None without a price, and where the input or the output is not known.

    Cached and reasoning tokens that are not known count as none.
    """
    if price is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    cached, reasoning = usage.cached_input_tokens or 0, usage.reasoning_tokens or 0
    of_cached, of_reasoning = price.cached_input_per_million, price.reasoning_per_million
    with localcontext(_EXACT):
        total = (
            (usage.input_tokens - cached) * price.input_per_million
            + cached * (price.input_per_million if of_cached is None else of_cached)
            + (usage.output_tokens - reasoning) * price.output_per_million
            + reasoning * (price.output_per_million if of_reasoning is None else of_reasoning)
        )
        return total.scaleb(-6)


def _check_count(field: str, count: int | None) -> None:
    if count is None:
        return
    if isinstance(count, bool) or not isinstance(count, int):
        raise _refused(field, "must be a whole number")
    if not 0 <= count <= MOST_TOKENS:
        raise _refused(field, f"must be between 0 and {MOST_TOKENS:,}")


def _check_part(field: str, part: int | None, of: str, whole: int | None) -> None:
    if part is not None and whole is not None and part > whole:
        raise _refused(field, f"must be at most {of} ({whole:,}), which include them")


def _refused(field: str, message: str) -> InvalidInput:
    return InvalidInput(f"{field} {message}", [{"field": field, "message": message, "code": "invalid_usage"}])
