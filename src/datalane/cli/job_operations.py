"""What `datalane jobs` does to jobs: find the workspaces, check what may be done, do it a batch at a time.

Which workspace a job is in is asked as the operator login, which reads operational columns across workspaces.
Everything else goes through the tenant door of that workspace, as the lane itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from datalane.cli.office import Office
from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.db.faults import translated
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine import jobs as engine
from datalane.engine.jobs import JobState
from datalane.errors import Conflict, NotFound
from datalane.kit.ids import SYSTEM_WORKSPACE, uuid7

BATCH = 1_000
_FIRST = UUID(int=0)
_queries = load_queries(__file__, "jobs.sql")


@dataclass(frozen=True, slots=True)
class Acted:
    """How many jobs a verb changed, and the new ids of replayed ones by their old ids."""

    jobs: int
    new_ids: Mapping[UUID, UUID] = field(default_factory=dict)


async def _retry(tx: Transaction, ids: Sequence[UUID]) -> Acted:
    return Acted(await engine.retry_jobs(tx, ids))


async def _replay(tx: Transaction, ids: Sequence[UUID]) -> Acted:
    new_ids = await engine.replay_jobs(tx, ids)
    return Acted(len(new_ids), new_ids)


async def _cancel(tx: Transaction, ids: Sequence[UUID]) -> Acted:
    return Acted(await engine.cancel_jobs(tx, ids))


@dataclass(frozen=True, slots=True)
class Verb:
    """Something done to jobs. `advice` says for each other status what to do instead."""

    name: str
    done: str
    statuses: tuple[str, ...]
    act: Callable[[Transaction, Sequence[UUID]], Awaitable[Acted]]
    advice: Mapping[str, str]

    def refuse(self, job: JobState) -> None:
        """Raises `Conflict` when the verb does not fit the job's status."""
        if job.replayed_by is not None and self.name == "replay":
            raise Conflict(f"job {job.id} was replayed already, as {job.replayed_by}; look at that one")
        if job.status not in self.statuses:
            advice = self.advice.get(job.status)
            raise Conflict(
                f"job {job.id} is {job.status}, not {' or '.join(self.statuses)}" + (f"; {advice}" if advice else "")
            )


RETRY = Verb(
    "retry",
    "retried",
    ("failed",),
    _retry,
    {"dead_letter": "a dead letter is started anew with `datalane jobs replay`"},
)
REPLAY = Verb(
    "replay", "replayed", ("dead_letter",), _replay, {"failed": "a failed job is put back with `datalane jobs retry`"}
)
CANCEL = Verb("cancel", "canceled", ("queued", "processing", "retrying", "failed"), _cancel, {})


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs of a verb's statuses; everything that is None matches all."""

    statuses: tuple[str, ...]
    kind: str | None = None
    error_class: str | None = None


@dataclass(slots=True)
class Outcome:
    """How many jobs, by workspace; `new_ids` of replayed ones by their old ids."""

    jobs: dict[UUID, int] = field(default_factory=dict)
    new_ids: dict[UUID, UUID] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.jobs.values())

    def add(self, workspace_id: UUID, acted: Acted) -> None:
        if acted.jobs:
            self.jobs[workspace_id] = self.jobs.get(workspace_id, 0) + acted.jobs
        self.new_ids |= acted.new_ids


class JobsOffice(Office):
    """The two ways to jobs: across workspaces as the operator, inside one through its door."""

    name = "datalane jobs"

    async def locate(self, ids: Sequence[UUID], workspace_id: UUID | None) -> dict[UUID, list[UUID]]:
        """`ids` by workspace. Raises `NotFound`, and `Conflict` for an id that two workspaces have."""
        if workspace_id is not None:
            return {workspace_id: list(ids)}
        async with self.operator() as connection:
            rows = await _queries.locate_jobs(connection, ids=list(ids))
        homes: dict[UUID, list[UUID]] = defaultdict(list)
        for row in rows:
            homes[row["id"]].append(row["workspace_id"])
        located: dict[UUID, list[UUID]] = defaultdict(list)
        for job_id in ids:
            if job_id not in homes:
                raise NotFound(f"there is no job {job_id}")
            if len(homes[job_id]) > 1:
                known = " and ".join(str(home) for home in homes[job_id])
                raise Conflict(f"the job id {job_id} is ambiguous: {known} have one; name one with --workspace")
            located[homes[job_id][0]].append(job_id)
        return located

    async def list_jobs(
        self, workspace_id: UUID | None, status: str | None, asked: Mapping[str, Any], limit: int
    ) -> list[dict[str, Any]]:
        """Operational fields, newest first. Without `status`: jobs that have not completed. `asked` are `kind`,
        `error_class`, `subject_id` and `correlation_id`."""
        if workspace_id is not None:
            async with self.database() as database, database.transaction(Context.system(workspace_id)) as tx:
                listed = await engine.list_jobs(tx, status=status, **asked, page_size=limit)
            return [{name: getattr(job, name) for name in _OPERATIONAL} for job in listed]
        async with self.operator() as connection:
            if status == "completed":
                rows = await _queries.list_completed_jobs(connection, **asked, most=limit)
            else:
                statuses = [status] if status else ["queued", "processing", "retrying", "failed", "dead_letter"]
                rows = await _queries.list_jobs(connection, statuses=statuses, **asked, most=limit)
        return [{name: row[name] for name in _OPERATIONAL} for row in rows]

    async def act_on(self, verb: Verb, ids: Sequence[UUID], workspace_id: UUID | None, dry_run: bool) -> Outcome:
        """Do it to all of `ids`, or raise before anything is changed when one of them is unknown or does not fit."""
        located = await self.locate(list(dict.fromkeys(ids)), workspace_id)
        outcome = Outcome()
        async with self.database() as database:
            for workspace, own in located.items():
                async with database.transaction(Context.system(workspace)) as tx:
                    for job_id in own:
                        verb.refuse(await engine.get_job(tx, job_id))
                if dry_run:
                    outcome.jobs[workspace] = len(own)
            for workspace, own in located.items() if not dry_run else ():
                async with database.transaction(Context.system(workspace)) as tx:
                    outcome.add(workspace, await verb.act(tx, own))
        return outcome

    async def act_where(self, verb: Verb, wanted: Filter, workspace_id: UUID | None, dry_run: bool) -> Outcome:
        """Do it to every job there is now that `wanted` matches, one transaction a batch."""
        until = uuid7()
        async with self.database() as database:
            counts = await self._count(database, wanted, workspace_id, until)
            if dry_run:
                return Outcome(counts)
            if not counts:
                raise NotFound(f"nothing to do: no {' or '.join(wanted.statuses)} job matches")
            outcome = Outcome()
            for workspace in counts:
                await self._act_in(database, verb, wanted, workspace, until, outcome)
        return outcome

    async def set_pause(self, kind: str, workspace_id: UUID | None, paused: bool) -> None:
        """In one workspace through its door, everywhere as the worker role, which the login may step into."""
        async with self.database() as database:
            if workspace_id is not None:
                async with database.transaction(Context.system(workspace_id)) as tx:
                    await (engine.pause if paused else engine.resume)(tx, kind)
                return
            verb = "pause_kind_everywhere" if paused else "resume_kind_everywhere"
            who = Context.system(SYSTEM_WORKSPACE)
            connection = await database.direct_connection(database.roles.worker)
            try:
                with translated():
                    await connection.execute(
                        f"SELECT datalane.{verb}($1, $2, $3)", kind, who.actor_id, who.correlation_id
                    )
            finally:
                await connection.close()
            if not paused:
                database.wakeup.wake()

    async def _act_in(
        self, database: Database, verb: Verb, wanted: Filter, workspace_id: UUID, until: UUID, outcome: Outcome
    ) -> None:
        after = _FIRST
        while True:
            async with database.transaction(Context.system(workspace_id)) as tx:
                rows = await _queries.find_matching_here(
                    tx.connection, workspace_id=workspace_id, after=after, until=until, most=BATCH, **_columns(wanted)
                )
                ids = [row["id"] for row in rows]
                if not ids:
                    return
                acted = await verb.act(tx, ids)
            outcome.add(workspace_id, acted)
            after = ids[-1]

    async def _count(
        self, database: Database, wanted: Filter, workspace_id: UUID | None, until: UUID
    ) -> dict[UUID, int]:
        if workspace_id is None:
            async with self.operator() as connection:
                rows = await _queries.count_matching(connection, until=until, **_columns(wanted))
            return {row["workspace_id"]: row["jobs"] for row in rows}
        async with database.transaction(Context.system(workspace_id)) as tx:
            jobs = await _queries.count_matching_here(
                tx.connection, workspace_id=workspace_id, until=until, **_columns(wanted)
            )
        return {workspace_id: jobs} if jobs else {}


_OPERATIONAL = (
    *("workspace_id", "id", "kind", "subject_id", "status", "attempt_count", "max_attempts", "queued_at"),
    *("started_at", "completed_at", "next_retry_at", "dead_letter_reason", "last_error_class", "correlation_id"),
    *("parent_job_id", "replayed_by"),
)


def _columns(wanted: Filter) -> dict[str, Any]:
    return {"statuses": list(wanted.statuses), "kind": wanted.kind, "error_class": wanted.error_class}
