"""A call of a tool while it goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from uuid import UUID

from datalane.agents.recorder.faults import RETRYABLE, class_of, message_of
from datalane.agents.runs.calls import CallTerms, fail_call, start_call, succeed_call
from datalane.agents.runs.schemas import HeldRun
from datalane.agents.safety.faults import ModerationUnavailable
from datalane.agents.safety.judging import Judged, Safety
from datalane.agents.safety.moderator import About
from datalane.agents.safety.recording import record_moderation
from datalane.contracts.context import Context
from datalane.db.transaction import Transaction

Door = Callable[[Context], AbstractAsyncContextManager[Transaction]]


class RecordedCall:
    """A call that was authorized and has begun.

    `result` is what is kept of it. `is_replay` says that its idempotency key had an effect already: `result` is what
    that did, and nothing is to be done again.
    """

    def __init__(
        self,
        run: HeldRun,
        opened: Door,
        context: Context,
        tool_call_id: UUID,
        terms: CallTerms,
        arguments: Mapping[str, Any],
        idempotency_key: str | None,
        safety: Safety,
    ) -> None:
        self.run_id = run.run_id
        self.context = context
        self.tool_call_id = tool_call_id
        self.tool_name = terms.tool_name
        self.arguments = dict(arguments)
        self.idempotency_key = idempotency_key
        self.attempt = 1
        self.result: Any = None
        self.is_replay = False
        self.terms = terms
        self._run = run
        self._door = opened
        self._is_told = False
        self._safety = safety
        self._judged: Judged | None = None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction in which the effect and the record of it commit together, or not at all. Set `result` inside.

        Raises `Conflict` when another call with the same idempotency key was first: then nothing of it is done. Where
        moderation judges results it does so inside: `ContentRefused` comes when all is committed but the result, and
        with `ModerationUnavailable` nothing is done.
        """
        async with self._open() as tx:
            yield tx
            await self._judge()
            await self._succeed(tx)
        self._told()

    def open_as(self, context: Context) -> AbstractAsyncContextManager[Transaction]:
        """A transaction beside the record of the call."""
        return self._door(context)

    async def tell_success(self) -> None:
        """Record the result, unless that was done with the effect. Raises as `succeed_call`, `ContentRefused` for one
        that moderation does not let pass, and `ModerationUnavailable`."""
        if self._is_told or self.is_replay:
            return
        await self._judge()
        async with self._open() as tx:
            await self._succeed(tx)
        self._told()

    async def tell_failure(self, error: BaseException, *, may_retry: bool) -> bool:
        """Record that the attempt failed. Whether another one is to be made."""
        if self._is_told or self.is_replay:
            return False
        error_class = class_of(error)
        retryable = may_retry and error_class in RETRYABLE and not isinstance(error, ModerationUnavailable)
        async with self._open() as tx:
            if self._judged is not None and self._judged.outcome == "failed":
                await record_moderation(tx, self._run, self._judged, tool_call_id=self.tool_call_id)
            status = await fail_call(
                tx, self._run, self.tool_call_id, error_class, message_of(error), retryable=retryable
            )
        return status == "retrying"

    async def begin_again(self) -> None:
        """The next attempt of a call that is to be tried again."""
        async with self._open() as tx:
            self.attempt = await start_call(tx, self._run, self.tool_call_id)

    def _open(self) -> AbstractAsyncContextManager[Transaction]:
        return self._door(self.context)

    async def _judge(self) -> None:
        about = About.of(self.context, run_id=self.run_id, tool_name=self.tool_name)
        self._judged = await self._safety.judge("result", self.result, about)
        if self._judged is not None and self._judged.outcome == "failed":
            self.result = None
            raise self._judged.error(self.run_id)

    async def _succeed(self, tx: Transaction) -> None:
        await succeed_call(tx, self._run, self.tool_call_id, self.result, judged=self._judged)

    def _told(self) -> None:
        self._is_told = True
        if self._judged is not None and not self._judged.passes:
            self.result = None
            raise self._judged.error(self.run_id)


ToolFunction = Callable[[RecordedCall], Awaitable[Any]]
"""Does what the tool does, and answers the result. Its effect on the lane goes into `call.transaction()`."""
