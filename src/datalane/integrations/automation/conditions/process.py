"""One child process, seen from the pool: start, ask, kill."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from datalane.errors import DatalaneError
from datalane.integrations.automation.conditions import child as child_program
from datalane.integrations.automation.conditions.types import Decided, Expression, ExpressionFailed, Fault
from datalane.kit.children import ChildLost, ChildProcess, start_child

_START_SECONDS = 30.0
_LEAST_PATIENCE = 2.0
_LENGTH = child_program.LENGTH


class ConditionsUnavailable(DatalaneError):
    """No child process can be started, or it does not answer; no expression is to blame. Worth retrying."""

    code = "conditions_unavailable"
    status = 503


class ChildDied(ChildLost):
    """The child did not answer. `failed` is what its expression suffers if the child itself is not to blame."""

    def __init__(self, failed: ExpressionFailed) -> None:
        super().__init__(str(failed))
        self.failed = failed

    @property
    def is_timeout(self) -> bool:
        return self.failed.fault.error_class == "condition_timeout"


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """Seconds of processor time for one expression, bytes of address space, bytes of a value."""

    deadline: float
    memory_bytes: int
    most_bytes: int

    @property
    def patience(self) -> float:
        """Seconds for an answer on a machine that has other things to do."""
        return max(_LEAST_PATIENCE, 40 * self.deadline)


class Child(ChildProcess):
    """A child that evaluates expressions."""

    def __init__(self, process: asyncio.subprocess.Process, limits: ChildLimits) -> None:
        super().__init__(process)
        self._limits = limits

    @classmethod
    async def start(cls, limits: ChildLimits) -> Child:
        """Start a child and wait until it is ready. Raises `ConditionsUnavailable`."""
        arguments = {
            "parent_pid": os.getpid(),
            "deadline": limits.deadline,
            "memory_bytes": limits.memory_bytes,
            "most_bytes": limits.most_bytes,
        }
        try:
            process = await start_child(child_program.__file__, arguments)
        except OSError as error:
            raise ConditionsUnavailable(f"a process for conditions cannot be started: {error.strerror}") from error
        child = cls(process, limits)
        try:
            await child._await_ready()
        except BaseException:
            await child.kill()
            raise
        return child

    async def check(self, expression: Expression) -> str:
        """The type of its value. Raises `ExpressionFailed`, and `ChildDied`."""
        await self._send(expression, {"check": expression.text})
        kind: str = await self._answer(expression)
        return kind

    async def decide(self, event: bytes, condition: Expression | None, arguments: Sequence[Expression]) -> Decided:
        """Raises as `check`."""
        expressions = [*([condition] if condition else []), *arguments]
        if not expressions:
            return Decided(True)
        asked = {"condition": condition and condition.text, "arguments": [each.text for each in arguments]}
        await self._send(expressions[0], asked, event)
        if condition is not None and not await self._answer(condition):
            return Decided(False)
        return Decided(True, [await self._answer(each) for each in arguments])

    async def _await_ready(self) -> None:
        try:
            async with asyncio.timeout(_START_SECONDS):
                told = await self._receive()
        except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError) as error:
            mebibytes = self._limits.memory_bytes // 2**20
            raise ConditionsUnavailable(
                f"a process for conditions ended or hung while starting; are {mebibytes:,} MiB of memory enough?"
            ) from error
        if "ready" not in told:
            raise ConditionsUnavailable(f"a process for conditions cannot start: {told.get('unavailable')}")

    async def _send(self, first: Expression, *frames: Any) -> None:
        encoded = [frame if isinstance(frame, bytes) else json.dumps(frame).encode() for frame in frames]
        try:
            self._requests.write(b"".join(_LENGTH.pack(len(frame)) + frame for frame in encoded))
            async with asyncio.timeout(self._limits.patience):
                await self._requests.drain()
        except TimeoutError as error:
            raise self._silent() from error
        except OSError as error:
            raise await self._death(first) from error

    async def _answer(self, expression: Expression) -> Any:
        try:
            async with asyncio.timeout(self._limits.patience):
                told = await self._receive()
        except TimeoutError as error:
            raise self._silent() from error
        except (OSError, asyncio.IncompleteReadError) as error:
            raise await self._death(expression) from error
        self.served += 1
        if "fault" in told:
            raise ExpressionFailed(expression, Fault(told["fault"], told["message"]))
        return told["value"]

    async def _receive(self) -> dict[str, Any]:
        (length,) = _LENGTH.unpack(await self._replies.readexactly(_LENGTH.size))
        if length > self._limits.memory_bytes:
            raise OSError("a frame larger than the child's memory")
        told: dict[str, Any] = json.loads(await self._replies.readexactly(length))
        return told

    def _silent(self) -> ConditionsUnavailable:
        return ConditionsUnavailable(f"a process for conditions said nothing for {self._limits.patience:g} seconds")

    async def _death(self, expression: Expression) -> ChildDied:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.patience):
                await self._process.wait()
        status = self._process.returncode
        await self.kill()
        return ChildDied(ExpressionFailed(expression, self._reason(status)))

    def _reason(self, status: int | None) -> Fault:
        if status == -signal.SIGPROF:
            milliseconds = f"{self._limits.deadline * 1000:g} ms"
            return Fault("condition_timeout", f"it took more than {milliseconds} (automation.condition_time)")
        if status in (child_program.MEMORY_EXIT, -signal.SIGABRT):
            mebibytes = f"{self._limits.memory_bytes // 2**20:,} MiB"
            return Fault("condition_memory", f"it needed more than {mebibytes} (automation.memory)")
        return Fault("condition_crashed", f"the process that evaluated it ended with status {status}")
