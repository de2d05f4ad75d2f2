"""Uses that come at the same time share a transaction.

A counter is locked until its transaction has committed, so that uses of one quota go one after the other, and each
would wait for a commit of its own. Many that wait in this process are taken along with one lock and one commit. Who
comes alone waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg

from datalane.access.usage import service
from datalane.access.usage.schemas import Use
from datalane.access.usage.service import Doors
from datalane.contracts.context import Context
from datalane.db.door import inside_transaction
from datalane.errors import DatalaneError

AT_ONCE = 100
"""Uses that share a transaction at most."""

_Name = tuple[int, str, str]


@dataclass(frozen=True)
class Wanted:
    """A use that waits for its answer."""

    context: Context
    units: int
    key: str
    answer: asyncio.Future[Use] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Lines:
    """One line for each workspace, role and quota that somebody is using right now."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._waiting: dict[_Name, deque[Wanted] | None] = {}
        self._serving: set[asyncio.Task[None]] = set()

    async def use(self, context: Context, quota_key: str, units: int, key: str) -> Use:
        """As `service.use`, in a transaction of its own or of many; inside a transaction of the caller in that one."""
        name = (context.workspace_id.int, context.role.value, quota_key)
        if name in self._waiting:
            if inside_transaction():
                return await self._alone(context, quota_key, units, key)
            return await self._wait(name, context, units, key)
        self._waiting[name] = None
        try:
            return await self._alone(context, quota_key, units, key)
        finally:
            self._hand_over(name)

    async def _wait(self, name: _Name, context: Context, units: int, key: str) -> Use:
        service.check_units(units)
        wanted = Wanted(context, units, key)
        line = self._waiting[name]
        if line is None:
            line = self._waiting[name] = deque()
        line.append(wanted)
        return await wanted.answer

    def _hand_over(self, name: _Name) -> None:
        """To a task that serves who came meanwhile, or to nobody."""
        line = self._waiting[name]
        if line is None:
            del self._waiting[name]
            return
        task = asyncio.create_task(self._serve(name, line))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, name: _Name, line: deque[Wanted]) -> None:
        try:
            while line:
                some = [line.popleft() for _ in range(min(AT_ONCE, len(line)))]
                await self._serve_some(name[2], [each for each in some if not each.answer.done()])
        finally:
            del self._waiting[name]
            for wanted in line:
                wanted.answer.cancel()

    async def _serve_some(self, quota_key: str, some: Sequence[Wanted]) -> None:
        """Together; where something is wrong with one of them, each on its own."""
        try:
            if len(some) < 2:
                raise _Alone
            async with self._doors.transaction(some[0].context) as tx:
                answers = await service.use_batch(tx, quota_key, some)
        except (DatalaneError, asyncpg.PostgresError, _Alone):
            for wanted in some:
                await self._answer_alone(quota_key, wanted)
        except BaseException as error:
            for wanted in some:
                _fail(wanted, error)
            if not isinstance(error, Exception):
                raise
        else:
            for wanted, answer in zip(some, answers, strict=True):
                if not wanted.answer.done():
                    wanted.answer.set_result(answer)

    async def _answer_alone(self, quota_key: str, wanted: Wanted) -> None:
        try:
            answer = await self._alone(wanted.context, quota_key, wanted.units, wanted.key)
        except BaseException as error:
            _fail(wanted, error)
            if not isinstance(error, Exception):
                raise
        else:
            if not wanted.answer.done():
                wanted.answer.set_result(answer)

    async def _alone(self, context: Context, quota_key: str, units: int, key: str) -> Use:
        if not inside_transaction():
            return await service.use_apart(self._doors, context, quota_key, units, idempotency_key=key)
        async with self._doors.transaction(context) as tx:
            return await service.use(tx, quota_key, units, idempotency_key=key)


class _Alone(Exception):
    pass


def _fail(wanted: Wanted, error: BaseException) -> None:
    if not wanted.answer.done():
        if isinstance(error, Exception):
            wanted.answer.set_exception(error)
        else:
            wanted.answer.cancel()
