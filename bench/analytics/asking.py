"""A funnel of three steps over the events of one workspace: through the lane, and by hand without its wall."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from datetime import date

import asyncpg

from bench.analytics.recording import queries
from datalane.access.analytics.asked import FunnelAsked
from datalane.access.analytics.asking import ask_funnel
from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.kit.ids import uuid7
from datalane.settings import AnalyticsSettings

_STEPS = ["page.seen", "cart.filled", "order.placed"]
_ASKED = FunnelAsked(steps=_STEPS, first_day=date(2026, 9, 1), last_day=date(2026, 11, 30))
_PATIENT = AnalyticsSettings.model_validate({"query_time": "PT10M"})
_BY_HAND = {
    "as the server plans": "RESET ALL",
    "64 MB, no compiler": "RESET ALL; SET work_mem = '64MB'; SET jit = off",
    "64 MB, no compiler, one process": (
        "RESET ALL; SET work_mem = '64MB'; SET jit = off; SET max_parallel_workers_per_gather = 0"
    ),
}
"""How whoever writes SQL by hand may have it planned; the quickest of them counts."""


@dataclass
class Asked:
    """Seconds of each run, of ours and by hand, by how that was planned."""

    ours: list[float] = field(default_factory=list)
    by_hand: dict[str, list[float]] = field(default_factory=dict)

    @property
    def best(self) -> str:
        return min(self.by_hand, key=lambda plan: statistics.median(self.by_hand[plan]))

    @property
    def ratio(self) -> float:
        return statistics.median(self.ours) / statistics.median(self.by_hand[self.best])


async def measure(database: Database, admin: asyncpg.Connection, events: int, runs: int) -> Asked:
    """In turns. Raises `AssertionError` where the two count otherwise."""
    context = Context(uuid7(), uuid7(), Role.VIEWER)
    await queries.seed(admin, workspace_id=context.workspace_id, events=events)
    await admin.execute("VACUUM ANALYZE datalane.analytics_events")
    await admin.execute("CHECKPOINT")
    asked = Asked(by_hand={plan: [] for plan in _BY_HAND})
    for _ in range(runs):
        began = time.perf_counter()
        async with database.transaction(context) as tx:
            found = await ask_funnel(tx, _ASKED, _PATIENT)
        asked.ours.append(time.perf_counter() - began)
        for plan, settings in _BY_HAND.items():
            await admin.execute(settings)
            began = time.perf_counter()
            row = await queries.count_funnel(admin, workspace_id=context.workspace_id)
            asked.by_hand[plan].append(time.perf_counter() - began)
            assert [step.subjects for step in found.data[0].steps] == [*row.values()], "the two count otherwise"
    return asked
