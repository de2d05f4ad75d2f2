"""What other domains use is bounded and counted by quotas of the same name."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from tests.integration.access.conftest import plans_of
from tests.integration.agents.desk import LedgerDesk

from datalane.access.entitlements.plans import Plan, Quota, register_plans
from datalane.access.entitlements.service import assign_plan
from datalane.access.usage import service
from datalane.access.usage.metering import bound_by_quotas
from datalane.agents.budgets.admitting import begin_admitted, register_meters
from datalane.agents.runs.schemas import NewRun
from datalane.contracts.context import Context
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.engine.meters import Adding, Meters
from datalane.engine.quotas import use_what_is_sold
from datalane.engine.registration import register
from datalane.errors import UsageLimitReached

PLAN = Plan(
    "metered",
    (),
    {
        "agent.tokens": Quota(100, "month"),
        "knowledge.documents": Quota(2, "month"),
        "knowledge.bytes": Quota(50, "day"),
    },
)


@pytest.fixture
async def sold(database: Database, operator: Context) -> Meters:
    await register(database, {}, [], list(EVENTS))
    await register_plans(database, plans_of(PLAN))
    async with database.transaction(operator) as tx:
        await assign_plan(tx, "metered")
    meters = Meters()
    register_meters(meters)
    bound_by_quotas(meters)
    return meters


async def test_tokens_of_agents_are_counted_and_a_run_is_blocked_when_they_are_used_up(
    database: Database, context: Context, sold: Meters
) -> None:
    desk = LedgerDesk(database, context)
    async with database.transaction(context) as tx:
        begun = await begin_admitted(tx, sold, NewRun(agent="helper", runtime="here"))
    assert begun.refused is None
    step = {"kind": "model", "name": "chat", "input_tokens": 90, "output_tokens": 20}
    await desk.rows("SELECT datalane.record_agent_steps($1, $2, $3)", begun.run_id, begun.lease_token, [step])
    async with database.transaction(context) as tx:
        counter = await service.get_counter(tx, "agent.tokens")
        assert counter is not None
        assert (counter.consumed_units, counter.remaining_units) == (110, 0)  # what was used cannot be refused
        refusal = await sold.ask(tx, {"agent.tokens": Adding(Decimal(1))}, datetime.now(UTC))
        assert refusal is not None
        assert "110 of 100 units of agent.tokens are used" in refusal.reason
        blocked = await begin_admitted(tx, sold, NewRun(agent="helper", runtime="here"))
        assert blocked.refused is not None
        assert await service.find_differences(tx) == []


async def test_what_is_sold_is_used_all_or_not_at_all(database: Database, context: Context, sold: Meters) -> None:
    async with database.transaction(context) as tx:
        await use_what_is_sold(tx, {"knowledge.documents": 1, "knowledge.bytes": 30, "not.sold": 7}, "first")
        await use_what_is_sold(tx, {"knowledge.documents": 1, "knowledge.bytes": 30}, "first")
    with pytest.raises(
        UsageLimitReached, match=r"30 of 50 units of knowledge\.bytes are used; 30 more do not fit"
    ) as told:
        async with database.transaction(context) as tx:
            await use_what_is_sold(tx, {"knowledge.documents": 1, "knowledge.bytes": 30}, "second")
    assert told.value.told == {"quota_key": "knowledge.bytes", "limit_units": 50, "remaining_units": 20}
    async with database.transaction(context) as tx:
        used = {each.quota_key: each.consumed_units for each in (await service.list_counters(tx)).data}
    assert used == {"agent.tokens": 0, "knowledge.bytes": 30, "knowledge.documents": 1}
