"""The child process: `python -P child.py '{"deadline": …, "memory_bytes": …}'`.

Frames come in on standard input and go out on what was standard output: four bytes of length, then JSON. It is started
by its path, not as a module of the package, so that nothing but the standard library is imported before the limits
stand.

The time of one expression is counted by the kernel, as processor time of this process, and ends it by SIGPROF: a
library that holds the interpreter's lock cannot put that off, and a machine that is busy with other things makes no
expression late.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import re
import resource
import signal
import struct
import sys
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import IO, Any

LENGTH = struct.Struct(">I")
MEMORY_EXIT = 77
"""Exit status of a child that ran out of memory."""

_PR_SET_PDEATHSIG = 1
_MEMORY_RESERVE = 32 * 1024 * 1024
_OPEN_FILES = 64
_MOST_COMPILED = 256
_LONG_NUMBER = re.compile(rb"\d{19}")
_WHOLE = range(-(2**63), 2**63)

TYPES = {
    "event.type": "STRING",
    "event.version": "INT",
    "event.payload": "DYN",
    "event.subject_id": "DYN",
    "event.source_system": "STRING",
    "event.occurred_at": "TIMESTAMP",
    "event.actor_id": "STRING",
    "event.causation_depth": "INT",
}
"""What an expression may name, and nothing else. `event.subject_id` is a string or null."""


def main() -> int:
    settings: dict[str, Any] = json.loads(sys.argv[1])
    requests, replies = _take_over_pipes()
    _die_with_parent(settings["parent_pid"])
    _limit_resources(settings["memory_bytes"])
    try:
        serve = _Expressions(settings["deadline"], settings["most_bytes"]).serve
    except Exception as error:
        _say(replies, {"unavailable": f"{type(error).__name__}: {error}"})
        return 1
    _say(replies, {"ready": True})
    try:
        serve(requests, replies)
    except MemoryError:
        _grant_reserve(settings["memory_bytes"])
        return MEMORY_EXIT
    return 0


def _take_over_pipes() -> tuple[IO[bytes], IO[bytes]]:
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, replies


def _die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent dies. Elsewhere than Linux the end of the pipe does it."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        sys.exit(0)


def _limit_resources(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes + _MEMORY_RESERVE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))


def _grant_reserve(memory_bytes: int) -> None:
    limit = memory_bytes + _MEMORY_RESERVE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _read(requests: IO[bytes]) -> bytes | None:
    """The next frame; None at the end of the input."""
    prefix = requests.read(LENGTH.size)
    return requests.read(LENGTH.unpack(prefix)[0]) if len(prefix) == LENGTH.size else None


def _say(replies: IO[bytes], told: dict[str, Any]) -> None:
    frame = json.dumps(told, allow_nan=False).encode()
    replies.write(LENGTH.pack(len(frame)) + frame)
    replies.flush()


class _Refused(Exception):
    """The expression, or its value, is none that may be used. `args` are the class and the message."""


class _Expressions:
    """Compiles and evaluates. What was compiled lately is kept, by its text."""

    def __init__(self, deadline: float, most_bytes: int) -> None:
        from cel_expr_python import cel

        self._types = cel.Type
        self._env = cel.NewEnv(variables={name: getattr(cel.Type, kind) for name, kind in TYPES.items()})
        self._deadline = deadline
        self._most_bytes = most_bytes
        self._compiled: OrderedDict[str, Any] = OrderedDict()

    def serve(self, requests: IO[bytes], replies: IO[bytes]) -> None:
        while (frame := _read(requests)) is not None:
            asked = json.loads(frame)
            if "check" in asked:
                _say(replies, self._told(self._check, asked["check"]))
                continue
            event = _read_event(_read(requests) or b"{}")
            if asked["condition"] is not None:
                verdict = self._told(self._decide, asked["condition"], event)
                _say(replies, verdict)
                if verdict.get("value") is not True:
                    continue
            for text in asked["arguments"]:
                told = self._told(self._value, text, event)
                _say(replies, told)
                if "fault" in told:
                    break

    def _told(self, work: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        try:
            return {"value": work(*arguments)}
        except _Refused as refused:
            fault, message = refused.args
            return {"fault": fault, "message": message}
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    def _check(self, text: str) -> str:
        """The type of the value, such as `BOOL` or `DYN`."""
        return str(self._compile(text).return_type())

    def _compile(self, text: str) -> Any:
        signal.setitimer(signal.ITIMER_PROF, self._deadline)
        known = self._compiled.get(text)
        if known is not None:
            self._compiled.move_to_end(text)
            return known
        try:
            compiled = self._env.compile(text)
        except RuntimeError as error:
            raise _Refused("condition_invalid", str(error)) from error
        self._compiled[text] = compiled
        if len(self._compiled) > _MOST_COMPILED:
            self._compiled.popitem(last=False)
        return compiled

    def _evaluate(self, text: str, event: dict[str, Any]) -> Any:
        compiled = self._compile(text)
        signal.setitimer(signal.ITIMER_PROF, self._deadline)
        try:
            found = compiled.eval(data=event)
        except RuntimeError as error:
            spent = "budget exceeded" in str(error)
            raise _Refused("condition_timeout" if spent else "condition_error", str(error)) from error
        if found.type() in (self._types.ERROR, self._types.UNKNOWN):
            raise _Refused("condition_error", str(found.value()))
        return found

    def _decide(self, text: str, event: dict[str, Any]) -> bool:
        found = self._evaluate(text, event)
        if found.type() != self._types.BOOL:
            raise _Refused("condition_not_boolean", f"its value is of the type {found.type()}, not BOOL")
        return bool(found.value())

    def _value(self, text: str, event: dict[str, Any]) -> Any:
        value = _plain(self._evaluate(text, event).plain_value())
        size = len(json.dumps(value))
        if size > self._most_bytes:
            raise _Refused("condition_error", f"its value has {size:,} bytes, the limit is {self._most_bytes:,}")
        return value


def _read_event(frame: bytes) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(frame)
    if _LONG_NUMBER.search(frame):
        event["event.payload"] = _within_range(event["event.payload"])
    event["event.occurred_at"] = datetime.fromisoformat(event["event.occurred_at"])
    return event


def _within_range(value: Any) -> Any:
    """Whole numbers that the library cannot hold become doubles: else nothing of the payload could be read."""
    if isinstance(value, dict):
        return {key: _within_range(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_within_range(each) for each in value]
    return float(value) if isinstance(value, int) and value not in _WHOLE else value


def _plain(value: Any) -> Any:
    """The value as JSON. A moment becomes its ISO text, a duration its seconds (`90s`)."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(each) for key, each in value.items()}
    raise _Refused("condition_error", f"its value ({type(value).__name__}) cannot be written as JSON")


if __name__ == "__main__":
    sys.exit(main())
