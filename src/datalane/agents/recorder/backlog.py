"""Steps that are over, written behind the agent: it does not wait for the ledger while it goes on.

A step is on its way to the ledger within `LINGER`, one transaction at a time; what ends meanwhile goes with it. Each
has an id of its own in the run: one whose commit was not heard of is not written twice. What stands in the way of one
is told at the next point that waits: a call of a tool, a budget that is asked, the end of the run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import asyncpg

from datalane.agents.runs.recording import encode_step, record_encoded
from datalane.agents.runs.schemas import HeldRun, NewStep
from datalane.db.door import inside_transaction
from datalane.db.transaction import Transaction
from datalane.errors import DatabaseUnavailable, DatalaneError, LeaseLost
from datalane.kit.contents import Redaction
from datalane.kit.logs import get_logger
from datalane.settings import Limits

MOST_BEHIND = 100
"""Steps that may wait to be written; past them the agent waits."""
MOST_BYTES_BEHIND = 4 << 20
LINGER = 0.01
"""Seconds for which a step waits for others, so that quick ones cost one transaction."""

log = get_logger(__name__)


class Backlog:
    """The steps of one run, in the order in which they ended.

    A run that began inside a transaction of its task is seen by nobody else until that commits, so its steps are
    written at once, there. `waits` says so.
    """

    def __init__(
        self,
        opened: Callable[[], AbstractAsyncContextManager[Transaction]],
        run: HeldRun,
        limits: Limits,
        redaction: Redaction,
    ) -> None:
        self.waits = inside_transaction()
        self._opened = opened
        self._run = run
        self._limits = limits
        self._redaction = redaction
        self._steps: dict[int, str] = {}
        self._bytes = 0
        self._added = 0
        self._fault: DatalaneError | asyncpg.PostgresError | None = None
        self._turn = asyncio.Lock()
        self._writing: asyncio.Task[None] | None = None

    def add(self, step: NewStep) -> None:
        """Have a step written. Raises `LimitExceeded` for what is too large, and then nothing of it is kept."""
        self._added += 1
        encoded = encode_step(step, self._limits, self._redaction, f"{self._run.lease_token}:{self._added}")
        self._steps[self._added] = encoded
        self._bytes += len(encoded)
        if not self.waits and (self._writing is None or self._writing.done()):
            self._writing = asyncio.create_task(self._write_behind())

    @property
    def is_full(self) -> bool:
        return len(self._steps) >= MOST_BEHIND or self._bytes >= MOST_BYTES_BEHIND

    def check(self) -> None:
        """Raise what stood in the way of a step before, once it is known."""
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault

    async def settle(self) -> None:
        """Everything is written when this returns; inside a transaction of the task, when that commits.

        Raises `LeaseLost` and `DatabaseUnavailable`, after which the steps wait still, and what the ledger has refused
        of a step, `NotFound` for instance: that one is left, and the others are written.
        """
        if inside_transaction():
            await self._stop_writing()  # it may wait for a row that this very task has locked
        async with self._turn:
            await self._write()
        self.check()

    async def settle_rest(self) -> None:
        """As `settle`, whatever the ledger refuses. Raises `LeaseLost`, `DatabaseUnavailable`."""
        try:
            await self.settle()
        except (LeaseLost, DatabaseUnavailable):
            raise
        except Exception as refused:
            log.warning("agent_step_refused", run_id=str(self._run.run_id), error=str(refused))

    async def close_with(
        self, tell: Callable[[Transaction], Awaitable[object]], opened: AbstractAsyncContextManager[Transaction]
    ) -> None:
        """Write what waits, and `tell` in the same transaction. Raises as `settle`, but then nothing of it is done."""
        if inside_transaction():
            await self._stop_writing()
        async with self._turn:
            self.check()
            async with opened as tx:
                numbers = list(self._steps)  # one that ends meanwhile is not among them
                if numbers:
                    await record_encoded(tx, self._run, [self._steps[number] for number in numbers])
                await tell(tx)
            self._forget(numbers)
            if self._writing is not None and not self._steps:
                self._writing.cancel()

    async def _write_behind(self) -> None:
        await asyncio.sleep(LINGER)
        try:
            async with self._turn:
                await self._write()
        except LeaseLost as error:
            self._fault = error
        except (DatalaneError, asyncpg.PostgresError) as error:
            # Tried again with the next step, and told when somebody waits for it.
            log.warning("agent_steps_wait", run_id=str(self._run.run_id), error=str(error))

    async def _stop_writing(self) -> None:
        if self._writing is not None and not self._writing.done():
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)

    async def _write(self) -> None:
        left, most = list(self._steps), MOST_BEHIND
        while left:
            batch = left[:most]
            try:
                await self._record(batch)
            except (LeaseLost, DatabaseUnavailable):
                raise
            except (DatalaneError, asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
                if len(batch) > 1:
                    most = 1  # one of them is at fault, so each goes alone
                    continue
                log.warning("agent_step_refused", run_id=str(self._run.run_id), error=str(error))
                self._fault = self._fault or error
                self._forget(batch)
            del left[: len(batch)]

    async def _record(self, numbers: Sequence[int]) -> None:
        """They are forgotten with the commit, whichever transaction that is of."""
        async with self._opened() as tx:
            await record_encoded(tx, self._run, [self._steps[number] for number in numbers])
            tx.after_commit(lambda: self._forget(numbers))

    def _forget(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._bytes -= len(self._steps.pop(number, ""))
