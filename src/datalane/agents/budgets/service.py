"""Budgets: set, removed and listed with what is used of them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from datalane.agents.budgets.schemas import Budget, BudgetList, BudgetTarget, NewBudget, RemovedBudget
from datalane.agents.permissions import MANAGE_BUDGETS, READ_BUDGETS
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.audit import record
from datalane.errors import NotFound
from datalane.kit.clock import utc_now

_TOKENS = "tokens"
"""The unit of what is no money."""

_queries = load_queries(__file__)


async def set_budget(tx: Transaction, new: NewBudget, now: datetime | None = None) -> Budget:
    """The budget from the commit on; what was used in the period before counts."""
    MANAGE_BUDGETS.check(tx.context)
    tx, at = tx.following(), now or utc_now()
    before = await _lock(tx, new)
    await _queries.put_budget(
        tx.connection,
        workspace_id=tx.workspace_id,
        meter=new.meter,
        period=new.period,
        most=new.limit,
        unit=new.currency or _TOKENS,
        now=at,
        actor_id=tx.context.actor_id,
    )
    after = _told(new.limit, new.currency)
    if before != after:
        await record(tx, "agent_budget.set", "agent_budget", _name(new), before=before, after=after)
    return next(each for each in await read_budgets(tx, at) if _name(each) == _name(new))


async def remove_budget(tx: Transaction, target: BudgetTarget) -> RemovedBudget:
    """No bound from the commit on. Raises `NotFound`."""
    MANAGE_BUDGETS.check(tx.context)
    tx = tx.following()
    before = await _lock(tx, target)
    if before is None:
        raise NotFound("no such budget")
    await _queries.remove_budget(tx.connection, workspace_id=tx.workspace_id, meter=target.meter, period=target.period)
    await record(tx, "agent_budget.removed", "agent_budget", _name(target), before=before)
    return RemovedBudget(meter=target.meter, period=target.period)


async def list_budgets(tx: Transaction, now: datetime | None = None) -> BudgetList:
    """All of them, with what was used."""
    READ_BUDGETS.check(tx.context)
    return BudgetList(data=await read_budgets(tx, now or utc_now()))


async def read_budgets(tx: Transaction, now: datetime) -> list[Budget]:
    """Tokens before costs, days before months. It asks for no permission: a budget bounds whoever reads it or not."""
    rows = await _queries.read_budgets(tx.connection, workspace_id=tx.workspace_id, now=now)
    return [
        Budget(
            **row,
            limit=row["most"],
            currency=_currency(row["unit"]),
            left=max(row["most"] - row["used"], Decimal(0)),
        )
        for row in rows
    ]


async def _lock(tx: Transaction, target: BudgetTarget) -> dict[str, Any] | None:
    """What the budget says, which nobody else changes until the transaction ends."""
    await _queries.lock_budgets(tx.connection, workspace_id=tx.workspace_id)
    row = await _queries.get_budget(
        tx.connection, workspace_id=tx.workspace_id, meter=target.meter, period=target.period
    )
    return None if row is None else _told(row["most"], _currency(row["unit"]))


def _currency(unit: str) -> str | None:
    return None if unit == _TOKENS else unit


def _told(limit: Decimal, currency: str | None) -> dict[str, Any]:
    return {"limit": format(limit.normalize(), "f"), "currency": currency}


def _name(target: BudgetTarget) -> str:
    return f"{target.meter}/{target.period}"
