"""Child processes that are asked over their standard input, and pools of them.

What is asked may hang, crash or use up memory: it does so in a child, which is killed and replaced.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Generic, TypeVar

_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ", "TMPDIR")


class ChildLost(Exception):
    """The child did not answer, and must be killed."""

    had_served = False
    """Whether it had given other answers before."""


class ChildProcess:
    """A running child process. `served` counts its answers."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._requests = process.stdin
        self._replies = process.stdout
        self.served = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def kill(self) -> None:
        """Kill the child and whatever it started, and wait for its end. Harmless when it has ended."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await asyncio.shield(self._reap())

    async def close(self) -> None:
        """End a child that is asked nothing more."""
        await self.kill()

    async def _reap(self) -> None:
        self._requests.close()
        await self._process.wait()


C = TypeVar("C", bound=ChildProcess)


class ChildPool(Generic[C]):
    """Up to `size` children, each made by `start` when it is first needed. Belongs to one event loop.

    Whoever asks a pool that is closed gets the error `unavailable`.
    """

    def __init__(self, size: int, start: Callable[[], Awaitable[C]], unavailable: type[Exception]) -> None:
        self._size = size
        self._start = start
        self._unavailable = unavailable
        self._free = asyncio.Semaphore(size)
        self._idle: list[C] = []
        self._closed = False
        self.replaced = 0
        """Children that were killed, because of what they were asked or as nobody waited for the answer any more."""

    async def aclose(self) -> None:
        """Wait for what is being answered, then end the children. The pool cannot be used again."""
        self._closed = True
        for _ in range(self._size):
            await self._free.acquire()
        children, self._idle = self._idle, []
        await asyncio.gather(*(child.close() for child in children))
        for _ in range(self._size):
            self._free.release()

    @asynccontextmanager
    async def _lend(self, *, fresh: bool = False) -> AsyncIterator[C]:
        """A child to ask, with `fresh` one that has given no answer yet. After an error it is killed."""
        async with self._free:
            if self._closed:
                raise self._unavailable("the pool of child processes is closed")
            child = await self._take(fresh)
            try:
                yield child
            except BaseException as error:
                # Also when canceled: a child in the middle of an answer cannot be asked for another.
                if isinstance(error, ChildLost):
                    error.had_served = child.served > 0
                self.replaced += 1
                await child.kill()
                raise
            self._idle.append(child)

    async def _take(self, fresh: bool) -> C:
        while self._idle:
            child = self._idle.pop()
            if child.alive and not (fresh and child.served):
                return child
            await child.kill()
        return await self._start()


async def start_child(
    program: str, arguments: Mapping[str, Any], stderr: int = asyncio.subprocess.DEVNULL
) -> asyncio.subprocess.Process:
    """Run the Python file `program` in a session of its own, with `arguments` as JSON. Raises `OSError`."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-P", program, json.dumps(arguments),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=stderr,
        env=child_environment(), cwd="/", start_new_session=True, limit=1024 * 1024,
    )  # fmt: skip


def child_environment() -> dict[str, str]:
    """What a child may know: where Python's modules are, and to use one thread. No secret, no database address."""
    modules = [os.path.abspath(entry) for entry in sys.path]
    return {
        **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(modules)),
        "PYTHONUTF8": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "RAYON_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "MALLOC_ARENA_MAX": "1",
        "HF_HUB_OFFLINE": "1",
    }
