"""Calling a function of the toolbox: within its time, again when that may help, then what its fallbacks lead to."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from random import SystemRandom
from typing import Any, Protocol

from datalane.agents.recorder.calls import RecordedCall
from datalane.agents.recorder.faults import AgentFault
from datalane.agents.recorder.toolbox import Toolbox
from datalane.agents.safety.faults import ContentRefused, ModerationUnavailable
from datalane.agents.tools.deciding import read_fallback
from datalane.db.transaction import Transaction
from datalane.kit.retry import RetryPolicy, retry_delay

RETRY = RetryPolicy(base=timedelta(seconds=0.2), cap=timedelta(seconds=10))
_RANDOM = SystemRandom()


class AsksForCalls(Protocol):
    """A run, as far as calls are made in it."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]: ...

    async def request(
        self, tool_name: str, arguments: Mapping[str, Any], idempotency_key: str | None
    ) -> RecordedCall: ...


async def call_tool(
    run: AsksForCalls, tools: Toolbox, tool_name: str, arguments: Mapping[str, Any], idempotency_key: str | None
) -> Any:
    """Call a tool, and when it fails those that its fallbacks lead to, each once, with the same arguments."""
    tried: list[str] = []
    while True:
        call = await run.request(tool_name, arguments, idempotency_key)
        if call.is_replay:
            return call.result
        try:
            return await _attempt(call, tools)
        except (ContentRefused, ModerationUnavailable):  # it was done; doing it in another way would not help
            raise
        except Exception:
            tried.append(tool_name)
            following = await _fallback(run, call, tried)
            if following is None:
                raise
            tool_name = following


async def _attempt(call: RecordedCall, tools: Toolbox) -> Any:
    """One attempt after another, as the tool's version allows."""
    while True:
        try:
            function = tools.get(call.tool_name)
            if function is None:
                raise AgentFault("dependency_unavailable", f"no function of this process implements {call.tool_name}")
            async with asyncio.timeout(call.terms.timeout_seconds):
                answered = await function(call)
            call.result = answered if call.result is None else call.result
            await call.tell_success()
            return call.result
        except Exception as error:
            if not await call.tell_failure(error, may_retry=True):
                raise
        except BaseException as error:
            await asyncio.shield(call.tell_failure(error, may_retry=False))
            raise
        await asyncio.sleep(retry_delay(RETRY, call.attempt, _RANDOM.random()).total_seconds())
        await call.begin_again()


async def _fallback(run: AsksForCalls, call: RecordedCall, tried: list[str]) -> str | None:
    async with run.transaction() as tx:
        found = await read_fallback(tx, call.tool_name, call.terms.version, tried)
    return None if found is None else found.terms.tool_name
