"""Which workspaces have indexes of their own, and making it so: a duty of the maintenance process.

    (over the bound)  ->  building  ->  ready  <->  unfit        any  ->  leaving  ->  (gone)
                                  (recall is measured)                (under half of it, or its model is retired)

Each step can be done again: what is there is read from the database, and a step that was interrupted is found there as
it was left. Search uses an index only while it is ready; until then, and after, it looks at every vector.
"""

from __future__ import annotations

import time
from collections.abc import Coroutine, Mapping
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from datalane.db.faults import translated
from datalane.db.named_queries import load_queries
from datalane.db.roles import Roles
from datalane.engine.maintenance import Duty
from datalane.errors import DatalaneError
from datalane.kit.logs import get_logger
from datalane.knowledge.own_indexes.metrics import set_gauges
from datalane.settings import SearchSettings

PERIOD = timedelta(minutes=1)
LINKS, BUILD_EFFORT = 32, 200
"""`m` and `ef_construction` of the graph (Malkov and Yashunin, 2018; https://arxiv.org/abs/1603.09320)."""
RECALL = 0.995
"""Of the best ten of the points that are asked, without which an index is not used: of questions it is 0.99 then."""
QUESTIONS = 100
"""By which recall is measured."""
_PATIENCE = timedelta(hours=1)
"""After a step failed, until it is tried again."""

_queries = load_queries(__file__)
log = get_logger(__name__)


class Promotion:
    """Brings the indexes of a lane to what they should be: all ready ones find `recall` of the best ten."""

    def __init__(self, settings: SearchSettings, roles: Roles, recall: float = RECALL) -> None:
        self._search = settings
        self._roles = roles
        self._recall = recall
        self._failed: dict[str, float] = {}

    @property
    def duty(self) -> Duty:
        return Duty("indexing", PERIOD, self.keep, breakable=True)

    async def keep(self, connection: asyncpg.Connection, now: datetime | None = None) -> None:
        """Build, measure and drop what is due, one after the other. `connection` is the maintenance login's.

        Does nothing while another connection does it, also one whose process died and whose statement goes on.
        """
        if not await _queries.take_turn(connection):
            return
        bound, most = self._search.exact_chunks, self._search.own_indexes
        rows = await _queries.plan(connection, bound=bound, most=most, now=now)
        set_gauges(rows)
        built = {row["index_name"]: row["is_valid"] for row in await _queries.list_built(connection)}
        for row in rows:
            await self._try(
                connection, row["index_name"], self._step(connection, row, built.get(row["index_name"]), now)
            )
        for name in built.keys() - {row["index_name"] for row in rows}:
            await self._try(connection, name, self._drop(connection, name))

    async def _try(self, connection: asyncpg.Connection, name: str, step: Coroutine[Any, Any, None]) -> None:
        """Take a step that, when it fails, neither holds up others nor is taken again at once."""
        if time.monotonic() < self._failed.get(name, 0):
            step.close()
            return
        try:
            await step
        except (DatalaneError, asyncpg.PostgresError) as error:
            if connection.is_closed():
                raise
            log.warning("indexing_failed", index=name, error=str(error))
            if not isinstance(error.__cause__ or error, asyncpg.DeadlockDetectedError):  # with a migration, which won
                self._failed[name] = time.monotonic() + _PATIENCE.total_seconds()

    async def _step(
        self, connection: asyncpg.Connection, row: Mapping[str, Any], is_valid: bool | None, now: datetime | None
    ) -> None:
        name, status = row["index_name"], row["status"]
        if status in {"unfit", "leaving"}:
            if is_valid is not None:
                await self._drop(connection, name)
            if status == "leaving":
                await _queries.forget(connection, **_key(row))
            return
        if is_valid is False:
            await self._drop(connection, name)  # a build that was interrupted
        if not is_valid:
            await self._build(connection, row)
        if not is_valid or status == "building" or row["stale"]:
            await self._measure(connection, row, now)

    async def _build(self, connection: asyncpg.Connection, row: Mapping[str, Any]) -> None:
        began = time.perf_counter()
        with translated():
            await connection.execute(f"SET maintenance_work_mem = '{self._search.build_memory // 1024}kB'")
            # Parallel builders share memory, of which containers have little; and they would take every core.
            await connection.execute("SET max_parallel_maintenance_workers = 0")
        statement = await _queries.write_build(
            connection,
            index_name=row["index_name"],
            dimensions=row["dimensions"],
            links=LINKS,
            effort=BUILD_EFFORT,
            **_key(row),
        )
        await self._as_owner(connection, statement)
        seconds = round(time.perf_counter() - began, 1)
        log.info("index_built", index=row["index_name"], **_named(row), chunks=row["chunks"], seconds=seconds)

    async def _measure(self, connection: asyncpg.Connection, row: Mapping[str, Any], now: datetime | None) -> None:
        found = await _queries.measure(connection, **_key(row), wanted=self._recall, questions=QUESTIONS, now=now)
        log.info(
            "index_measured",
            index=row["index_name"],
            **_named(row),
            recall=round(found["recall"], 4),
            ef_search=found["effort"],
            ready=found["recall"] >= self._recall,
        )
        if found["recall"] < self._recall:
            await self._drop(connection, row["index_name"])

    async def _drop(self, connection: asyncpg.Connection, name: str) -> None:
        await self._as_owner(connection, await _queries.write_drop(connection, index_name=name))
        log.info("index_dropped", index=name)

    async def _as_owner(self, connection: asyncpg.Connection, statement: str) -> None:
        with translated():
            await connection.execute(f"SET ROLE {self._roles.owner}")
            try:
                await connection.execute(statement)
            finally:
                await connection.execute("RESET ROLE")


def _key(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"workspace_id": row["workspace_id"], "model_version": row["model_version"]}


def _named(row: Mapping[str, Any]) -> dict[str, str]:
    return {"workspace_id": str(row["workspace_id"]), "model_version": row["model_version"]}
