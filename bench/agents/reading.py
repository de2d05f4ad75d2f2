"""Lists and whole runs with a million steps in one workspace."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from random import Random
from uuid import UUID

import asyncpg

from datalane.agents.runs.looking import RunFilter, get_run, list_runs
from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.db.named_queries import load_queries
from datalane.kit.ids import uuid7

STEPS_EACH, CALLS_EACH = 10, 2

_queries = load_queries(__file__, "reading.sql")


@dataclass
class Reads:
    """Milliseconds of each read, by what was read."""

    taken: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, began: float) -> None:
        self.taken.setdefault(name, []).append((time.perf_counter() - began) * 1_000)


async def store(admin: asyncpg.Connection, steps: int) -> Context:
    """`steps` steps in one workspace, in runs of ten with two calls of tools."""
    context = Context(uuid7(), uuid7(), Role.MEMBER)
    workspace, runs = context.workspace_id, steps // STEPS_EACH
    said = {"workspace_id": workspace, "steps": STEPS_EACH}
    await _queries.add_runs(admin, **said, actor_id=context.actor_id, runs=runs, calls=CALLS_EACH)
    await _queries.add_steps(admin, **said)
    await _queries.add_calls(admin, **said, calls=CALLS_EACH)
    await _queries.add_transitions(admin, workspace_id=workspace)
    await admin.execute("VACUUM ANALYZE")
    return context


async def read(database: Database, admin: asyncpg.Connection, context: Context, times: int) -> Reads:
    """Each read in a transaction of its own, at places drawn anew each time."""
    draw, reads = Random(1), Reads()
    ids: list[UUID] = [
        row[0]
        for row in await admin.fetch(
            "SELECT run_id FROM datalane.agent_runs WHERE workspace_id = $1", context.workspace_id
        )
    ]
    filters = {
        "list": RunFilter(),
        "list of an agent": RunFilter(agent="agent 7"),
        "list of failures": RunFilter(status="failed"),
        "failures of an agent": RunFilter(agent="agent 10", status="failed"),
    }
    for _ in range(times):
        for name, asked in filters.items():
            began = time.perf_counter()
            async with database.transaction(context) as tx:
                page = await list_runs(tx, asked)
            reads.add(name, began)
            if len(page.data) != 25:
                raise RuntimeError(f"{name}: {len(page.data)} runs, not 25")
        began = time.perf_counter()
        async with database.transaction(context) as tx:
            run = await get_run(tx, draw.choice(ids))
        reads.add("one run, whole", began)
        if len(run.steps) != STEPS_EACH:
            raise RuntimeError(f"{len(run.steps)} steps, not {STEPS_EACH}")
    return reads
