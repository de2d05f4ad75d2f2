"""The sweep of orphans: originals in the file store that no document names, left by uploads that never committed.

    keeper, in every worker           job, one a workspace and round           continuation
    lists the store's workspaces ──>  lists files after a key, looks   ──────> the next files of a
    and enqueues, once a round        their rows up, removes orphans           large workspace

A round is as long as the age. Only files older than that are looked at: a younger one may belong to an upload that is
about to commit. Rows are looked up through the tenant door of the workspace, and files by its prefix, so no workspace's
sweep sees another's. Removing is repeatable, so two at once do no harm. Workspaces that this database does not know are
left alone: the store may be shared.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.db.named_queries import load_queries
from datalane.engine.handlers import Job
from datalane.engine.jobs import enqueue
from datalane.kit.clock import utc_now
from datalane.kit.logs import get_logger
from datalane.knowledge.files import FileStore, StoredFile

SWEEP = "document.sweep_files"
PAGE = 10_000
"""Files that one job looks at."""
_LOOKED_UP = 1_000
_REMOVED_AT_ONCE = 16
_LONGEST_PAUSE = timedelta(hours=1)
_RETRY = timedelta(minutes=1)

_queries = load_queries(__file__, "sweep.sql")
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """Files of a workspace after some key: how many were looked at, the orphans among them, and where to go on."""

    examined: int
    orphans: list[StoredFile]
    last: str | None


class Sweep:
    """Finds and removes orphans older than `age`. `page` is how many files one look takes."""

    def __init__(self, database: Database, files: FileStore, age: timedelta, page: int = PAGE) -> None:
        self._database = database
        self._files = files
        self._age = age
        self._page = page

    async def find(self, context: Context, now: datetime, after: str | None = None) -> Found:
        """One page of the workspace's orphans at `now`; `after` is the last page's `last`.

        Raises `FileStoreUnavailable`.
        """
        if not await self._knows(context):
            return Found(0, [], None)
        files = await self._files.list_files(context.workspace_id, after, self._page)
        old = [file for file in files if file.version_id is not None and now - file.modified >= self._age]
        orphans = []
        for start in range(0, len(old), _LOOKED_UP):
            some = old[start : start + _LOOKED_UP]
            named = await self._find_named(context, [file.version_id for file in some])
            orphans += [file for file in some if file.version_id not in named]
        return Found(len(files), orphans, files[-1].key if len(files) == self._page else None)

    async def find_all(self, now: datetime) -> AsyncIterator[tuple[UUID, Found]]:
        """Every page of every workspace that has files and is known."""
        for workspace_id in await self._files.list_workspaces():
            after: str | None = None
            while True:
                found = await self.find(Context.system(workspace_id), now, after)
                yield workspace_id, found
                after = found.last
                if after is None:
                    break

    async def sweep(self, context: Context, now: datetime, after: str | None = None) -> Found:
        """Remove one page of orphans; answers what was removed."""
        found = await self.find(context, now, after)
        for start in range(0, len(found.orphans), _REMOVED_AT_ONCE):
            some = found.orphans[start : start + _REMOVED_AT_ONCE]
            await asyncio.gather(*(self._files.delete(file.key) for file in some))
        log.info(
            "originals_swept",
            workspace_id=str(context.workspace_id),
            examined=found.examined,
            orphans=len(found.orphans),
            bytes=sum(file.size for file in found.orphans),
        )
        return found

    async def run(self, job: Job) -> None:
        """The handler: one page, and a job for the next."""
        found = await self.sweep(job.context, utc_now(), job.args.get("after"))
        if found.last is None:
            return
        root = job.args.get("round", str(job.id))
        async with self._database.transaction(job.context) as tx:
            await enqueue(
                tx, SWEEP, {"round": root, "after": found.last}, idempotency_key=f"{SWEEP}/{root}/{found.last}"
            )

    async def schedule(self, now: datetime) -> int:
        """Enqueue this round's sweep of every workspace with files that are old enough; answers how many were new."""
        enqueued = 0
        for workspace_id in await self._files.list_workspaces():
            oldest = await self._files.list_files(workspace_id, None, 1)
            context = Context.system(workspace_id)
            if not oldest or now - oldest[0].modified < self._age or not await self._knows(context):
                continue
            async with self._database.transaction(context) as tx:
                enqueued += (await enqueue(tx, SWEEP, idempotency_key=f"{SWEEP}/{self._round(now)}")).created
        return enqueued

    async def keep(self, stop: asyncio.Event) -> None:
        """`schedule` once a round until `stop` is set. Never raises for a store or a database that is away."""
        done: int | None = None
        while not stop.is_set():
            now, pause = utc_now(), _LONGEST_PAUSE
            try:
                if self._round(now) != done:
                    enqueued = await self.schedule(now)
                    done = self._round(now)
                    log.info("sweeps_scheduled", workspaces=enqueued)
            except Exception as error:  # a keeper that died would leave every orphan where it is
                log.warning("sweeps_not_scheduled", error=repr(error))
                pause = _RETRY
            try:
                async with asyncio.timeout(pause.total_seconds()):
                    await stop.wait()
            except TimeoutError:
                continue

    def _round(self, now: datetime) -> int:
        return int(now.timestamp() // self._age.total_seconds())

    async def _knows(self, context: Context) -> bool:
        async with self._database.transaction(context) as tx:
            return bool(await _queries.is_known(tx.connection, workspace_id=tx.workspace_id))

    async def _find_named(self, context: Context, version_ids: list[UUID | None]) -> set[UUID]:
        async with self._database.transaction(context) as tx:
            rows = await _queries.find_named(tx.connection, workspace_id=tx.workspace_id, version_ids=version_ids)
        return {row["version_id"] for row in rows}
