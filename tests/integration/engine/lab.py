"""The engine on a bench: the verbs called as the real roles, with the time given by the test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import asyncpg

from datalane.contracts.context import Context, Role
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.db.faults import translated
from datalane.db.transaction import Transaction
from datalane.engine.jobs import JobChange, JobState, get_job, list_changes
from datalane.engine.states import JOB
from datalane.kit.ids import uuid7

START = datetime(2030, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=60)
PATIENCE = 20.0
T = TypeVar("T")

ANY_OBJECT = {"type": "object"}
PAID = {
    "type": "object",
    "properties": {"invoice": {"type": "integer"}},
    "required": ["invoice"],
}


@dataclass(frozen=True)
class Claimed:
    """A claimed job with its fencing token."""

    workspace_id: UUID
    id: UUID
    kind: str
    lease_token: int
    attempt_count: int
    rescue_count: int
    order_key: str | None
    args: dict[str, Any]


def after(seconds: float) -> datetime:
    """A moment of the bench's own time."""
    return START + timedelta(seconds=seconds)


def ranked(context: Context, role: Role) -> Context:
    """Somebody of another role in the same workspace."""
    return replace(context, actor_id=uuid7(), role=role)


class Undone(Exception):
    """The caller of `undo` changed its mind."""


async def undo(database: Database, context: Context, action: Callable[[Transaction], Awaitable[Any]]) -> None:
    """Do `action` in a transaction and roll it back; raises `Undone`."""
    async with database.transaction(context) as tx:
        await action(tx)
        raise Undone


class Lab:
    """The verbs as a worker calls them, on a connection of the worker role."""

    def __init__(self, database: Database, worker: asyncpg.Connection, name: str = "worker-1") -> None:
        self.database = database
        self.worker = worker
        self.name = name

    @classmethod
    @asynccontextmanager
    async def opened(cls, database: Database, name: str = "worker-1") -> Any:
        connection = await database.direct_connection(database.roles.worker)
        lab = cls(database, connection, name)
        try:
            yield lab
        finally:
            await connection.close()

    async def call(self, verb: str, **arguments: Any) -> list[asyncpg.Record]:
        """A worker's verb with named arguments; those that are None are left to their defaults."""
        given = {name: value for name, value in arguments.items() if value is not None}
        slots = ", ".join(f"{name} => ${place}" for place, name in enumerate(given, 1))
        with translated():
            return list(await self.worker.fetch(f"SELECT * FROM datalane.{verb}({slots})", *given.values()))

    async def value(self, verb: str, **arguments: Any) -> Any:
        return (await self.call(verb, **arguments))[0][0]

    async def register(self, **handlers: str) -> None:
        """Make the test's event types known, and `kind=event_type` handlers for every workspace."""
        EVENTS.register("invoice.paid", PAID)
        EVENTS.register("thing.happened", ANY_OBJECT)
        for event_type in EVENTS:
            await self.call(
                "register_event_type",
                event_type=event_type.name,
                version=event_type.version,
                json_schema=dict(event_type.schema),
            )
        for kind, event_type_name in handlers.items():
            await self.handle(event_type_name, kind)

    async def handle(self, event_type: str, kind: str, ordered: bool = False) -> None:
        await self.call("register_event_handler", event_type=event_type, kind=kind, ordered=ordered)

    async def claim(
        self,
        *kinds: str,
        batch: int = 100,
        now: datetime | None = START,
        lease: timedelta = LEASE,
        worker: str | None = None,
        after_workspace: UUID | None = None,
        after_kind: str | None = None,
        rescue_bound: int | None = None,
    ) -> list[Claimed]:
        rows = await self.call(
            "claim_jobs",
            kinds=list(kinds or ("work",)),
            batch=batch,
            lease=lease,
            worker=worker or self.name,
            after_workspace=after_workspace,
            after_kind=after_kind,
            rescue_bound=rescue_bound,
            now=now,
        )
        fields = Claimed.__dataclass_fields__
        return [Claimed(**{name: row[name] for name in fields}) for row in rows]

    async def claim_one(self, *kinds: str, now: datetime | None = START) -> Claimed:
        (job,) = await self.claim(*kinds, batch=1, now=now)
        return job

    async def finish(self, *jobs: Claimed, now: datetime | None = START) -> set[UUID]:
        return set(await self.value("finish_jobs", **_held(jobs), now=now))

    async def fail(
        self,
        job: Claimed,
        error_class: str = "provider_error",
        message: str = "no answer",
        *,
        retry_after: timedelta | None = timedelta(seconds=5),
        now: datetime | None = START,
    ) -> str | None:
        """`retry_after=None` is a failure that will not go away by itself."""
        with translated():
            status: str | None = await self.worker.fetchval(
                "SELECT datalane.fail_job($1, $2, $3, $4, $5, $6, $7)",
                *(job.workspace_id, job.id, job.lease_token, error_class, message, retry_after, now),
            )
        return status

    async def postpone(self, job: Claimed, pause: timedelta, now: datetime | None = START) -> str | None:
        status: str | None = await self.worker.fetchval(
            "SELECT datalane.postpone_job($1, $2, $3, 'rate_limited', 'busy', $4, $5)",
            *(job.workspace_id, job.id, job.lease_token, pause, now),
        )
        return status

    async def release(self, *jobs: Claimed, now: datetime | None = START) -> int:
        return int(await self.value("release_jobs", **_held(jobs), now=now))

    async def extend(self, *jobs: Claimed, lease: timedelta = LEASE, now: datetime | None = START) -> set[UUID]:
        return set(await self.value("extend_leases", **_held(jobs), lease=lease, now=now))

    async def rescue(self, bound: int = 10, now: datetime | None = START) -> int:
        return int(await self.value("rescue_jobs", bound=bound, now=now))

    async def enqueue(
        self, context: Context, count: int = 1, *, kind: str = "work", now: datetime | None = START, **columns: Any
    ) -> list[UUID]:
        """`count` equal jobs through the batch verb; `columns` are one element's values (`order_key=…`)."""
        names = {"subject_id": "subject_ids", "priority": "priorities", "run_at": "run_ats", "order_key": "order_keys"}
        arrays = {names.get(name, name): [value] * count for name, value in columns.items()}
        slots = "".join(f", {name} => ${place}" for place, name in enumerate(arrays, 4))
        async with self.database.transaction(context) as tx:
            rows = await tx.fetch(
                f"SELECT job_id FROM datalane.enqueue_batch($1, $2, now => $3{slots}) ORDER BY ordinal",
                *([kind] * count, [{}] * count, now, *arrays.values()),
            )
        return [row["job_id"] for row in rows]

    async def operate(self, context: Context, verb: str, *arguments: Any, now: datetime | None = START) -> Any:
        """An operator's verb as an admin of the context's workspace."""
        slots = ", ".join(f"${place}" for place, _ in enumerate(arguments, 1))
        async with self.database.transaction(ranked(context, Role.ADMIN)) as tx:
            return await tx.fetch(
                f"SELECT * FROM datalane.{verb}({slots}, now => ${len(arguments) + 1})", *arguments, now
            )

    async def set_pause(self, context: Context, verb: str, kind: str) -> None:
        async with self.database.transaction(ranked(context, Role.ADMIN)) as tx:
            await tx.execute(f"SELECT datalane.{verb}($1)", kind)

    async def state(self, context: Context, job_id: UUID) -> JobState:
        async with self.database.transaction(context) as tx:
            return await get_job(tx, job_id)

    async def changes(self, context: Context, job_id: UUID) -> list[JobChange]:
        async with self.database.transaction(context) as tx:
            return await list_changes(tx, job_id)

    async def path(self, context: Context, job_id: UUID) -> list[str]:
        """The statuses a job went through, as its history tells; checked step by step."""
        return walked(await self.changes(context, job_id))

    async def rows(self, context: Context, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        async with self.database.transaction(context) as tx:
            return await tx.fetch(sql, *arguments)

    async def blocked_backend(self, sessions: int = 1) -> None:
        """Wait until so many sessions of this database wait for a lock."""

        async def waits() -> bool:
            return bool(
                await self.worker.fetchval(
                    "SELECT count(DISTINCT l.pid) >= $1 FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid "
                    "WHERE NOT l.granted AND a.datname = current_database()",
                    sessions,
                )
            )

        await eventually(waits)

    async def count(self, context: Context, table: str) -> int:
        return int((await self.rows(context, f"SELECT count(*) FROM {table}"))[0][0])


def _held(jobs: Sequence[Claimed]) -> Mapping[str, Any]:
    return {
        "workspaces": [job.workspace_id for job in jobs],
        "ids": [job.id for job in jobs],
        "tokens": [job.lease_token for job in jobs],
    }


@dataclass(frozen=True)
class Step:
    """One status change, as a path needs it."""

    from_status: str
    to_status: str


def walked(changes: Sequence[JobChange | Step]) -> list[str]:
    """The path of statuses; fails unless every step begins where the last one ended and the lifecycle allows it."""
    status = JOB.initial
    path = [status]
    for change in changes:
        told = [(one.from_status, one.to_status) for one in changes]
        assert change.from_status == status, f"a step begins at {change.from_status}, not at {status}: {told}"
        assert change.to_status in JOB.transitions[status], f"{status} -> {change.to_status} is illegal: {told}"
        status = change.to_status
        path.append(status)
    return path


async def somebody_waits(tx: Transaction) -> None:
    """Wait until another session waits for what this transaction holds."""
    sql = "SELECT FROM pg_locks l WHERE NOT l.granted AND pg_backend_pid() = ANY (pg_blocking_pids(l.pid))"

    async def waits() -> bool:
        return bool(await tx.fetch(sql))

    await eventually(waits)


async def eventually(check: Callable[[], Awaitable[T]], patience: float = PATIENCE) -> T:
    """Ask the database again until `check` answers something true; the only wait that is not on a signal."""
    deadline = asyncio.get_running_loop().time() + patience
    while True:
        answer = await check()
        if answer:
            return answer
        assert asyncio.get_running_loop().time() < deadline, f"still {answer!r} after {patience} s"
        await asyncio.sleep(0.01)
