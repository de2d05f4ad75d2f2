"""A run of ten steps, recorded by the library and by hand.

By hand there is a transaction for its beginning, each step and its end. The library writes steps behind the agent that
lets the event loop go on between two of them, as one that calls a model does; once more it waits for each."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import asyncpg

from datalane.agents.recorder import Agents
from datalane.agents.recorder.toolbox import Toolbox
from datalane.agents.versions.models import register_model
from datalane.agents.versions.prices import create_price
from datalane.agents.versions.schemas import NewAgentModel, NewModelPrice
from datalane.contracts.context import Context, Role
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.engine.registration import register
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7

STEPS = 10
GIVEN = {"messages": [{"role": "user", "content": "Which herons stand in the reeds? " * 8}]}
ANSWERED = {"text": "Grey ones, as a rule, and purple ones in summer. " * 8}
PRICE_IN, PRICE_OUT = Decimal(3), Decimal(15)


@dataclass
class Times:
    """Milliseconds of one run, by turn."""

    ours: list[float] = field(default_factory=list)
    waiting: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return statistics.median(self.ours) / statistics.median(self.bare)

    @property
    def ratio_waiting(self) -> float:
        return statistics.median(self.waiting) / statistics.median(self.bare)


async def measure(database: Database, admin: asyncpg.Connection, url: str, runs: int, rounds: int) -> Times:
    """`runs` runs a turn, one after the other, on one connection each side."""
    await admin.execute(Path(__file__).with_name("bare.sql").read_text())
    await register(database, {}, [], list(EVENTS))
    context, times = Context(uuid7(), uuid7(), Role.ADMIN), Times()
    async with database.transaction(context) as tx:
        model = await register_model(tx, NewAgentModel(provider="owls", model="owl-1"))
        price = NewModelPrice(
            model_version_id=model.model_version_id,
            currency="USD",
            input_per_million=PRICE_IN,
            output_per_million=PRICE_OUT,
        )
        await create_price(tx, price)
    bare = await asyncpg.connect(url)
    try:
        for turn in range(rounds + 1):  # the first one warms up
            ours = await _record(database, context, model.model_version_id, runs, waits=False)
            waiting = await _record(database, context, model.model_version_id, runs, waits=True)
            by_hand = await _insert(bare, context.workspace_id, model.model_version_id, runs)
            if turn:
                times.ours.append(ours)
                times.waiting.append(waiting)
                times.bare.append(by_hand)
        await _check(admin, runs * (rounds + 1))
        return times
    finally:
        await bare.close()


async def _record(database: Database, context: Context, model: UUID, runs: int, *, waits: bool) -> float:
    agents = Agents(database.transaction, Toolbox())
    began = time.perf_counter()
    for _ in range(runs):
        async with agents.run(context, "helper", input=GIVEN) as run:
            for _ in range(STEPS):
                async with run.step("model", "chat", model_version_id=model, input=GIVEN) as step:
                    await asyncio.sleep(0)
                    step.output = ANSWERED
                    step.count(input_tokens=1_000, output_tokens=100)
                if waits:
                    await run.settle()
            run.output = ANSWERED
    return (time.perf_counter() - began) * 1_000 / runs


async def _insert(bare: asyncpg.Connection, workspace: UUID, model: UUID, runs: int) -> float:
    given, answered = json.dumps(GIVEN), json.dumps(ANSWERED)
    cost = (1_000 * PRICE_IN + 100 * PRICE_OUT) / 1_000_000
    began = time.perf_counter()
    for _ in range(runs):
        run_id = uuid7()
        async with bare.transaction():
            await bare.execute(
                "INSERT INTO bare_runs (workspace_id, run_id, agent, status, input, created_at) "
                "VALUES ($1, $2, 'helper', 'running', $3, now())",
                *(workspace, run_id, given),
            )
        for ordinal in range(STEPS):
            started = utc_now()
            async with bare.transaction():
                await bare.execute(
                    "INSERT INTO bare_steps (workspace_id, run_id, ordinal, kind, name, model_version_id, "
                    "input_tokens, output_tokens, cost, input, output, started_at, ended_at) "
                    "VALUES ($1, $2, $3, 'model', 'chat', $4, 1000, 100, $5, $6, $7, $8, now())",
                    *(workspace, run_id, ordinal, model, cost, given, answered, started),
                )
                await bare.execute(
                    "UPDATE bare_runs SET input_tokens = input_tokens + 1000, output_tokens = output_tokens + 100, "
                    "cost = cost + $3 WHERE workspace_id = $1 AND run_id = $2",
                    *(workspace, run_id, cost),
                )
        async with bare.transaction():
            await bare.execute(
                "UPDATE bare_runs SET status = 'completed', output = $3, completed_at = now() "
                "WHERE workspace_id = $1 AND run_id = $2",
                *(workspace, run_id, answered),
            )
    return (time.perf_counter() - began) * 1_000 / runs


async def _check(admin: asyncpg.Connection, runs: int) -> None:
    """Raises RuntimeError unless both sides hold the same runs at the same cost."""
    sums = "SELECT count(*), sum(cost), sum(input_tokens) FROM {} WHERE status = 'completed'"
    ours, bare = (
        await admin.fetchrow(sums.format("datalane.agent_runs")),
        await admin.fetchrow(sums.format("bare_runs")),
    )
    if tuple(ours) != tuple(2 * each for each in bare) or bare[0] != runs:
        raise RuntimeError(f"the ledger holds {tuple(ours)}, the tables by hand half of it: {tuple(bare)}")
