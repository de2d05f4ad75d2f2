"""Routes of budgets."""

from __future__ import annotations

from fastapi import APIRouter

from datalane.agents.budgets import service
from datalane.agents.budgets.admitting import check_call
from datalane.agents.budgets.schemas import (
    Budget,
    BudgetAnswer,
    BudgetCheck,
    BudgetList,
    BudgetTarget,
    NewBudget,
    RemovedBudget,
)
from datalane.agents.permissions import MANAGE_BUDGETS, READ_BUDGETS, RECORD_RUNS
from datalane.contracts.context import Context
from datalane.contracts.http import Door
from datalane.db.transaction import Transaction
from datalane.engine.meters import Meters


def add_budget_routes(routes: APIRouter, door: Door, meters: Meters) -> None:
    @routes.post("/budgets/set")
    async def set_budget(body: NewBudget, tx: Transaction = door.writer(MANAGE_BUDGETS)) -> Budget:
        """Bound what agents use in a day or a month, or bound it anew."""
        return await service.set_budget(tx, body)

    @routes.post("/budgets/remove")
    async def remove_budget(body: BudgetTarget, tx: Transaction = door.writer(MANAGE_BUDGETS)) -> RemovedBudget:
        """Bound it no more."""
        return await service.remove_budget(tx, body)

    @routes.get("/budgets/list")
    async def list_budgets(tx: Transaction = door.reader(READ_BUDGETS)) -> BudgetList:
        """The budgets, with what is used of them."""
        return await service.list_budgets(tx)

    @routes.post("/runs/check-budget")
    async def check_budget(body: BudgetCheck, context: Context = door.caller(RECORD_RUNS)) -> BudgetAnswer:
        """Whether a run may call a model now. Nothing is written, and nothing is set aside."""
        async with door.transaction(context) as tx:
            refusal = await check_call(tx, meters, body, body.expects_tokens, body.model_version_id)
        if refusal is None:
            return BudgetAnswer(allowed=True)
        return BudgetAnswer(allowed=False, meter=refusal.meter, reason=refusal.reason)
