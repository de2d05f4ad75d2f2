"""Asking the meters before a run begins and before a model is called.

What is promised: no call begins once a budget is used up, or when what it is expected to use would pass it. Nothing is
set aside while calls are under way, so a call that began within the budget may end over it; the next one is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from datalane.agents.budgets.schemas import COST, TOKENS
from datalane.agents.budgets.service import read_budgets
from datalane.agents.permissions import RECORD_RUNS
from datalane.agents.runs import recording
from datalane.agents.runs.schemas import BegunRun, HeldRun, NewRun, RunEnd, TakenRun
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.meters import Adding, Meters, Refusal
from datalane.errors import LeaseLost, NotFound
from datalane.kit.clock import utc_now

_HELD = frozenset({"running", "waiting_tool"})

_queries = load_queries(__file__)


def register_meters(meters: Meters) -> None:
    """Add the meters of agents, bounded by the workspace's own budgets."""
    meters.name(TOKENS, COST)
    meters.bound((TOKENS, COST), _within_budgets, _has_budgets)


async def begin_admitted(tx: Transaction, meters: Meters, new: NewRun, now: datetime | None = None) -> BegunRun:
    """As `begin_run`. One whose workspace has used a budget up is recorded as blocked, and has no lease."""
    return await admit_begun(tx, meters, await recording.begin_run(tx, new, now), now)


async def admit_begun(tx: Transaction, meters: Meters, begun: BegunRun, now: datetime | None = None) -> BegunRun:
    """What `begin_run` answered, unless a budget is used up: then the run has ended as blocked."""
    if begun.lease_token is None:
        return begun
    refused = await _refuse(tx, meters, HeldRun(run_id=begun.run_id, lease_token=begun.lease_token), now)
    return begun if refused is None else BegunRun(**{**begun.model_dump(), "lease_token": None, "refused": refused})


async def take_admitted(
    tx: Transaction, meters: Meters, held: HeldRun | None, run_id: UUID, now: datetime | None = None
) -> TakenRun:
    """What `take_run` answered, unless a budget is used up: then the run has ended as blocked."""
    if held is None:
        return TakenRun(run_id=run_id, lease_token=None)
    refused = await _refuse(tx, meters, held, now)
    return TakenRun(run_id=run_id, lease_token=None if refused else held.lease_token, refused=refused)


async def check_call(
    tx: Transaction,
    meters: Meters,
    run: HeldRun,
    expects_tokens: int = 0,
    model_version_id: UUID | None = None,
    now: datetime | None = None,
) -> Refusal | None:
    """Why a model may not be called by this run, which is to be expected to use so many tokens; None when it may.

    Raises `NotFound` for a run that is not there, `LeaseLost` for one that is not held under this token.
    """
    RECORD_RUNS.check(tx.context)
    row = await _queries.get_held_run(tx.connection, workspace_id=tx.workspace_id, run_id=run.run_id)
    if row is None:
        raise NotFound("no such agent run")
    if row["lease_token"] != run.lease_token or row["status"] not in _HELD:
        raise LeaseLost(f"the lease of the agent run was lost: it is {row['status']}")
    cost = await _expected_cost(tx, expects_tokens, model_version_id, row["started_at"])
    return await meters.ask(tx, {TOKENS: Adding(Decimal(expects_tokens)), COST: cost}, now or utc_now())


async def is_bounded(tx: Transaction, meters: Meters) -> bool:
    """Whether anything bounds the agents of the workspace: a budget of its own, or somebody else who is to be asked."""
    return await meters.is_bounded(tx, TOKENS, COST)


async def _has_budgets(tx: Transaction) -> bool:
    found: bool = await _queries.has_budgets(tx.connection, workspace_id=tx.workspace_id)
    return found


async def _refuse(tx: Transaction, meters: Meters, held: HeldRun, now: datetime | None) -> str | None:
    """End the run when something is used up already; answers why."""
    refusal = await meters.ask(tx, {TOKENS: Adding(), COST: Adding()}, now or utc_now())
    if refusal is None:
        return None
    end = RunEnd(
        **held.model_dump(), status="blocked_policy", error_class="policy_denied", error_message=refusal.reason
    )
    await recording.end_run(tx, end, now)
    return refusal.reason


async def _expected_cost(tx: Transaction, tokens: int, model_version_id: UUID | None, at: datetime) -> Adding:
    """What so many tokens cost at most; nothing without a price."""
    if not tokens or model_version_id is None:
        return Adding()
    row = await _queries.get_dearest_rate(
        tx.connection, workspace_id=tx.workspace_id, model_version_id=model_version_id, at=at
    )
    return Adding() if row is None else Adding((tokens * row["rate"]).scaleb(-6), row["currency"])


async def _within_budgets(tx: Transaction, adding: Mapping[str, Adding], now: datetime) -> Refusal | None:
    for budget in await read_budgets(tx, now):
        added = adding.get(budget.meter)
        if added is None:
            continue
        more = added.amount if added.unit in (None, budget.currency) else Decimal(0)
        if budget.used < budget.limit and budget.used + more <= budget.limit:
            continue
        unit = "tokens" if budget.currency is None else budget.currency
        said = f"{budget.used.normalize():f} of {budget.limit.normalize():f} {unit} a {budget.period} are used"
        expected = f", and {more.normalize():f} more are expected" if more else ""
        return Refusal(budget.meter, f"the budget of the workspace would not hold: {said}{expected}")
    return None
