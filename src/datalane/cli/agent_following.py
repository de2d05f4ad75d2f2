"""Following the runs of a workspace: each change of status once, in the order of its run.

Every entry of a run has a number, taken under the run's lock, so behind what was seen of a run nothing is added later.
What is left is to look at every run that may have news, which `find_moving_runs` names. A run that began and ended
within one transaction that lasted longer than `_YOUTH` is missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.kit.clock import utc_now
from datalane.kit.ids import first_uuid7

PERIOD = 0.5
"""Seconds between two looks."""
_YOUTH = timedelta(minutes=1)
_queries = load_queries(__file__, "agents.sql")

News = list[dict[str, Any]]


class Following:
    """What was seen of the runs of one workspace, or of one agent in it. The first look tells nothing."""

    def __init__(self, agent: str | None = None) -> None:
        self._agent = agent
        self._seen: dict[UUID, int] | None = None

    async def look(self, tx: Transaction) -> News:
        """The changes of status since the last look."""
        known = self._seen or {}
        rows = await _queries.find_moving_runs(
            tx.connection,
            workspace_id=tx.workspace_id,
            agent=self._agent,
            since=first_uuid7(utc_now() - _YOUTH),
            known=list(known),
        )
        is_first, self._seen = self._seen is None, {row["run_id"]: row["entries"] for row in rows if row["is_moving"]}
        changed = [row for row in rows if row["entries"] > known.get(row["run_id"], 0)]
        if is_first or not changed:
            return []
        news = await _queries.list_news(
            tx.connection,
            workspace_id=tx.workspace_id,
            run_ids=[row["run_id"] for row in changed],
            seen=[known.get(row["run_id"], 0) for row in changed],
            entries=[row["entries"] for row in changed],
        )
        agents = {row["run_id"]: row["agent"] for row in changed}
        return [{**row, "agent": agents[row["run_id"]]} for row in news]


async def follow(office: Any, workspace_id: UUID, agent: str | None) -> AsyncIterator[News]:
    """Looks for ever, on one connection; the first answer is empty, and says that it has begun."""
    from datalane.contracts.context import Context

    following = Following(agent)
    async with office.database() as database:
        while True:
            async with database.transaction(Context.system(workspace_id)) as tx:
                news = await following.look(tx)
            yield news
            await asyncio.sleep(PERIOD)
