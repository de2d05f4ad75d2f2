"""Tools by name: what the application does when an agent calls one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from random import SystemRandom
from typing import TYPE_CHECKING, Any

from datalane.agents.recorder.calls import RecordedCall, ToolFunction
from datalane.agents.recorder.faults import AgentFault
from datalane.agents.tools.deciding import read_fallback
from datalane.errors import ConfigurationError
from datalane.kit.retry import RetryPolicy, retry_delay

if TYPE_CHECKING:
    from datalane.agents.recorder.runs import RecordedRun

RETRY = RetryPolicy(base=timedelta(seconds=0.2), cap=timedelta(seconds=10))
_RANDOM = SystemRandom()


class Toolbox:
    """The functions of the tools of one application. Who may call them is the policy's, in the database."""

    def __init__(self) -> None:
        self._by_name: dict[str, ToolFunction] = {}

    def implement(self, tool_name: str) -> Callable[[ToolFunction], ToolFunction]:
        """Register `async def tool(call) -> result`. Raises `ConfigurationError` for a name that is taken."""

        def register(function: ToolFunction) -> ToolFunction:
            if tool_name in self._by_name:
                raise ConfigurationError(f"the tool {tool_name} has two functions")
            self._by_name[tool_name] = function
            return function

        return register

    def get(self, tool_name: str) -> ToolFunction | None:
        return self._by_name.get(tool_name)


async def call_tool(
    run: RecordedRun, tools: Toolbox, tool_name: str, arguments: Mapping[str, Any], idempotency_key: str | None
) -> Any:
    """Call a tool, and when it fails those that its fallbacks lead to, each once, with the same arguments."""
    tried: list[str] = []
    while True:
        call = await run.request(tool_name, arguments, idempotency_key)
        if call.is_replay:
            return call.result
        try:
            return await _attempt(call, tools)
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


async def _fallback(run: RecordedRun, call: RecordedCall, tried: list[str]) -> str | None:
    async with run.transaction() as tx:
        found = await read_fallback(tx, call.tool_name, call.terms.version, tried)
    return None if found is None else found.terms.tool_name
