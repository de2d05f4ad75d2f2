"""One open transaction of one workspace: what a caller holds while the tenant door (`datalane.db.door`) is open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import asyncpg

from datalane.contracts.context import Context
from datalane.contracts.plans import Plans
from datalane.db.faults import translated
from datalane.db.wakeup import CHANGES, Wakeup
from datalane.errors import Conflict, DatalaneError
from datalane.kit.contents import CREDENTIALS, Redaction
from datalane.kit.cursors import PROCESS_CURSORS, Cursors
from datalane.kit.envelope import KeySource, no_keys
from datalane.kit.tracing import current_traceparent
from datalane.settings import Limits

DEFAULT_LIMITS = Limits()
AfterCommit = Callable[[], Awaitable[None] | None]
Row = TypeVar("Row")


class _Stated:
    """What the database was told beside the context, for all views of a transaction: the trace that it attaches to
    jobs, and how statements are planned."""

    __slots__ = ("plans", "traceparent")

    def __init__(self, traceparent: str | None, plans: Plans) -> None:
        self.traceparent = traceparent
        self.plans = plans


class Transaction:
    """One open transaction of one workspace. `connection` is for named queries; the helpers mirror asyncpg."""

    __slots__ = (
        "_after_commit",
        "_context",
        "_depth",
        "_make_context",
        "_stated",
        "_task",
        "_wakeup",
        "closing",
        "connection",
        "cursors",
        "limits",
        "master_keys",
        "redaction",
    )

    def __init__(
        self,
        connection: asyncpg.Connection,
        context: Context | None,
        wakeup: Wakeup | None = None,
        limits: Limits = DEFAULT_LIMITS,
        traceparent: str | None = None,
        cursors: Cursors = PROCESS_CURSORS,
        plans: Plans = Plans.USUAL,
        master_keys: KeySource = no_keys,
        redaction: Redaction = CREDENTIALS,
    ) -> None:
        self.connection = connection
        self.limits = limits
        self.cursors = cursors
        self.master_keys = master_keys
        self.redaction = redaction
        self._context = context
        self._make_context: Callable[[], Context] | None = None
        self._wakeup = wakeup
        self._task = asyncio.current_task()
        self._depth = 0
        self.closing = ""
        self._after_commit: list[AfterCommit] = []
        self._stated = _Stated(traceparent, plans)

    @property
    def context(self) -> Context:
        if self._context is None:
            if self._make_context is None:
                raise DatalaneError("this transaction has no workspace; open lane.transaction(context)")
            self._context = self._make_context()
        return self._context

    @property
    def workspace_id(self) -> UUID:
        return self.context.workspace_id

    def acting_as(self, context: Context) -> Transaction:
        """The same transaction for another actor or cause in the same workspace: it goes along as parameters."""
        if context.workspace_id != self.workspace_id:
            raise Conflict("a transaction belongs to one workspace")
        return self._view(context, None)

    def acting_for(self, workspace_id: UUID, make_context: Callable[[], Context]) -> Transaction:
        """As `acting_as`, with a context that is made when it is first asked for."""
        if workspace_id != self.workspace_id:
            raise Conflict("a transaction belongs to one workspace")
        return self._view(None, make_context)

    def following(self) -> Transaction:
        """For what follows from a change that was allowed: the scopes of an API key narrow what it asks for, and not
        the records, jobs and events that the lane makes of it."""
        context = self.context
        return self if context.scopes is None else self.acting_as(replace(context, scopes=None))

    def _view(self, context: Context | None, make_context: Callable[[], Context] | None) -> Transaction:
        view = Transaction.__new__(Transaction)
        view.connection = self.connection
        view._context = context
        view._make_context = make_context
        view._wakeup = self._wakeup
        view.limits = self.limits
        view.cursors = self.cursors
        view.master_keys = self.master_keys
        view.redaction = self.redaction
        view._task = self._task
        view._depth = 0
        view.closing = ""
        view._after_commit = self._after_commit
        view._stated = self._stated
        return view

    def belongs_to_current_task(self) -> bool:
        return self._task is asyncio.current_task()

    def after_commit(self, action: AfterCommit) -> None:
        """Run `action` once the transaction has committed; never when it rolls back."""
        self._after_commit.append(action)

    def make_cursor(self, listing: str, *position: Any) -> str:
        """The cursor after the row at `position` of the workspace's list `listing`: strings, numbers, booleans, None.

        Whatever else a list is sorted by (ids, times) is written as text. Raises as `Cursors.make`.
        """
        return self.cursors.make(listing, self.workspace_id, *position)

    def read_cursor(self, listing: str, cursor: str | None) -> tuple[Any, ...] | None:
        """The position that `make_cursor` was given; None without a cursor.

        Raises `InvalidInput` for a cursor that is damaged, forged, of another list or of another workspace.
        """
        return self.cursors.read(listing, self.workspace_id, cursor)

    def read_id_cursor(self, listing: str, cursor: str | None) -> UUID | None:
        """As `read_cursor`, of a list whose rows are placed by one id."""
        position = self.read_cursor(listing, cursor)
        return UUID(position[0]) if position else None

    def cut_page(
        self, listing: str, rows: Sequence[Row], page_size: int, place: Callable[[Row], Sequence[Any]]
    ) -> tuple[Sequence[Row], str | None]:
        """A page of `rows`, of which one more was asked for than it has, and the cursor after it if there are others.

        `place` is the position of a row, as `make_cursor` takes it, or with ids as they are.
        """
        page = rows[:page_size]
        if len(rows) <= page_size:
            return page, None
        position = [str(each) if isinstance(each, UUID) else each for each in place(page[-1])]
        return page, self.make_cursor(listing, *position)

    def wake_workers(self) -> None:
        """Tell idle workers, after the commit, that there is work."""
        if self._wakeup is not None and self._wakeup.wake not in self._after_commit:
            self._after_commit.append(self._wakeup.wake)

    def take_wake(self) -> Wakeup | None:
        """What wakes the workers, if that is wanted and may travel with the COMMIT; it is then up to the caller."""
        wakeup = self._wakeup
        if wakeup is None or wakeup.is_under_way or wakeup.wake not in self._after_commit:
            return None
        self._after_commit.remove(wakeup.wake)
        return wakeup

    def wake_streams(self) -> None:
        """Tell who follows this workspace, after the commit, that something it tells was written."""
        if self._wakeup is not None:
            self._after_commit.append(partial(self._wakeup.notify, CHANGES, str(self.workspace_id)))

    def close_with(self, statement: str) -> None:
        """Send `statement` in the same round trip as the COMMIT; if it fails, everything rolls back.

        It goes as it is, so it may hold only literals that cannot need quoting (UUIDs, integers).
        """
        self.closing += f"{statement}; "

    async def state_trace(self) -> None:
        """Jobs that are enqueued from here on belong to the trace of what runs now.

        The door has stated it for the whole transaction; this sends something only when what runs now is another part
        of the trace, or when jobs of several traces share the transaction.
        """
        current = current_traceparent()
        if current != self._stated.traceparent:
            await self.execute(trace_setting(current))
            self._stated.traceparent = current

    async def state_plans(self, plans: Plans) -> None:
        """Statements from here on are planned so; there is no way back to `Plans.USUAL`.

        A transaction that was opened so sends nothing; any other one pays a round trip.
        """
        if plans.value and self._stated.plans is not plans:
            await self.execute(local_settings(plans.value).removeprefix("; "))
            self._stated.plans = plans

    async def execute(self, sql: str, *args: Any) -> str:
        with translated():
            return str(await self.connection.execute(sql, *args))

    async def fetch(self, sql: str, *args: Any) -> list[asyncpg.Record]:
        with translated():
            return list(await self.connection.fetch(sql, *args))

    async def fetchrow(self, sql: str, *args: Any) -> asyncpg.Record | None:
        with translated():
            return await self.connection.fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: Any) -> Any:
        with translated():
            return await self.connection.fetchval(sql, *args)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[Transaction]:
        """A nested unit: an error inside undoes only what happened inside, and is raised on."""
        self._depth += 1
        name, queued = f"datalane_{self._depth}", len(self._after_commit)
        traceparent, plans = self._stated.traceparent, self._stated.plans
        await self.connection.execute(f"SAVEPOINT {name}")
        try:
            yield self
        except BaseException:
            del self._after_commit[queued:]
            self._stated.traceparent, self._stated.plans = traceparent, plans
            await self.connection.execute(f"ROLLBACK TO SAVEPOINT {name}; RELEASE SAVEPOINT {name}")
            raise
        else:
            await self.connection.execute(f"RELEASE SAVEPOINT {name}")
        finally:
            self._depth -= 1

    async def run_after_commit(self) -> None:
        for action in self._after_commit:
            outcome = action()
            if outcome is not None:
                await outcome


def trace_setting(traceparent: str | None) -> str:
    return f"SET LOCAL {stated_trace(traceparent)}"


def stated_trace(traceparent: str | None) -> str:
    return f"app.traceparent = '{traceparent or ''}'"


def local_settings(settings: Sequence[str]) -> str:
    return "".join(f"; SET LOCAL {setting}" for setting in settings)
