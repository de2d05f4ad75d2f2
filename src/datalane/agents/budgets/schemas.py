"""Budgets as callers see them, and what callers say of them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, model_validator

from datalane.agents.runs.schemas import HeldRun

TOKENS: Final = "agent.tokens"
COST: Final = "agent.cost"
MeterName = Literal["agent.tokens", "agent.cost"]
Period = Literal["day", "month"]


def _plain(amount: Decimal) -> str:
    return format(amount.normalize(), "f")


Amount = Annotated[Decimal, PlainSerializer(_plain, return_type=str)]
"""Answered as text, so that nothing is rounded."""
Most = Annotated[Amount, Field(ge=0, le=10**18, max_digits=29, decimal_places=10, allow_inf_nan=False)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="ISO 4217, in capitals")]
Expected = Annotated[int, Field(ge=0, le=2**53)]


class BudgetTarget(BaseModel):
    model_config = ConfigDict(extra="forbid")

    meter: MeterName
    period: Period


class NewBudget(BudgetTarget):
    """`limit` is in tokens or, with its `currency`, in money. 0 stops everything."""

    limit: Most
    currency: Currency | None = None

    @model_validator(mode="after")
    def _costs_have_a_currency(self) -> Self:
        if (self.meter == COST) != (self.currency is not None):
            raise ValueError("a budget of costs takes a currency, and no other does")
        if self.meter == TOKENS and self.limit != int(self.limit):
            raise ValueError("tokens are whole")
        return self


class Budget(BudgetTarget):
    """`used` is what was recorded from `period_start` on, at `period_end` it begins anew; `left` is never below 0.
    Tokens are those of input and output. What is not known of a step counts as nothing, and so does a cost in another
    currency."""

    model_config = ConfigDict(extra="ignore")

    limit: Amount
    currency: str | None
    used: Amount
    left: Amount
    period_start: datetime
    period_end: datetime
    updated_at: datetime
    updated_by_actor_id: UUID


class BudgetList(BaseModel):
    data: list[Budget]


class RemovedBudget(BudgetTarget):
    pass


class BudgetCheck(HeldRun):
    """A call of a model that a run is about to make. With `model_version_id`, `expects_tokens` are also reckoned as
    money, by the dearest rate of its price."""

    expects_tokens: Expected = 0
    model_version_id: UUID | None = None


class BudgetAnswer(BaseModel):
    """Whether the call may be made. If not, `meter` is the one whose budget would not hold, and the run is to end as
    `blocked_policy`, with the error class `policy_denied`."""

    allowed: bool
    meter: str | None = None
    reason: str | None = None
