"""One child process, seen from the pool: start, ask, kill."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib import import_module

from datalane.errors import DatalaneError
from datalane.kit.children import ChildLost, ChildProcess, start_child
from datalane.knowledge.extraction import child as child_program
from datalane.knowledge.extraction import wire
from datalane.knowledge.extraction.types import Bounds, Extracted, Failure, Source
from datalane.knowledge.parsing.errors import ExtractionError, ParseCrashed, ParseMemory, ParseTimeout

_START_SECONDS = 60.0
_STDERR_KEPT = 4096
_HEADER_LIMIT = 64 * 1024 * 1024
# What Rust, C++, OpenBLAS, Python and the C library say before they give up.
_OUT_OF_MEMORY_SIGNS = (
    b"memory allocation of",
    b"std::bad_alloc",
    b"Memory allocation still failed",
    b"MemoryError",
    b"Cannot allocate memory",
)


class ExtractionUnavailable(DatalaneError):
    """No child process can be started; no document is to blame. Worth retrying."""

    code = "extraction_unavailable"
    status = 503


class ChildFailed(ChildLost):
    """The child did not answer a batch. `error` is what its document suffers if it was alone in the batch."""

    def __init__(self, error: ExtractionError, diagnosis: str) -> None:
        super().__init__(f"{error.code}: {diagnosis}")
        self.error = error


@dataclass(frozen=True, slots=True)
class ChildSettings:
    """Limits of a child: seconds per document, bytes of address space; import paths it runs at start."""

    timeout_seconds: float
    memory_bytes: int
    setup: tuple[str, ...] = ()
    bounds: Bounds = field(default_factory=Bounds)


class Child(ChildProcess):
    """A child that reads documents; each batch is one answer."""

    def __init__(self, process: asyncio.subprocess.Process, settings: ChildSettings) -> None:
        super().__init__(process)
        assert process.stderr is not None
        self._settings = settings
        self._stderr = b""
        self._stderr_task = asyncio.create_task(self._keep_stderr(process.stderr))

    @classmethod
    async def start(cls, settings: ChildSettings) -> Child:
        """Start a child and wait until it is ready. Raises ExtractionUnavailable."""
        arguments = {
            "parent_pid": os.getpid(),
            "memory_bytes": settings.memory_bytes,
            "timeout_seconds": settings.timeout_seconds,
            "setup": settings.setup,
            "bounds": asdict(settings.bounds),
        }
        try:
            process = await start_child(child_program.__file__, arguments, stderr=asyncio.subprocess.PIPE)
        except OSError as error:
            raise ExtractionUnavailable(f"An extraction process cannot be started: {error.strerror}.") from error
        child = cls(process, settings)
        try:
            await asyncio.to_thread(import_module, "numpy")  # for its answers, while it loads for itself
            await child._await_ready()
        except BaseException:
            await child.kill()
            raise
        return child

    async def extract(self, batch: Sequence[Source]) -> list[Extracted | Failure]:
        """Results of `batch`, in order. Raises ChildFailed, after which the child must be killed."""
        try:
            self._requests.write(wire.encode_batch(batch))
            await self._requests.drain()
            while True:
                async with asyncio.timeout(self._settings.timeout_seconds):
                    header, body = await self._receive()
                if "results" in header:
                    results = wire.decode_results(header, memoryview(body))
                    break
                if "out_of_memory" in header:
                    raise ChildFailed(self._memory_error(), "MemoryError")
        except TimeoutError as error:
            raise ChildFailed(self._timeout_error(), "no progress within the limit") from error
        except (OSError, asyncio.IncompleteReadError) as error:
            raise await self._explain_death() from error
        except (ValueError, KeyError, TypeError) as error:
            raise ChildFailed(ParseCrashed(), f"malformed answer ({type(error).__name__})") from error
        if len(results) != len(batch):
            raise ChildFailed(ParseCrashed(), "an answer of another length than its batch")
        self.served += 1
        return results

    async def close(self, seconds: float = 5.0) -> None:
        """Let the child end by itself at the end of its input; kill it after `seconds`."""
        self._requests.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._process.wait()
        await self.kill()

    async def _reap(self) -> None:
        await super()._reap()
        await self._stderr_task

    async def _await_ready(self) -> None:
        try:
            async with asyncio.timeout(_START_SECONDS):
                header, _ = await self._receive()
        except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError) as error:
            await self.kill()
            said = self._stderr.decode("utf-8", "replace").strip().splitlines()
            raise ExtractionUnavailable(
                "An extraction process ended or hung while starting. "
                f"Is its memory limit of {self._settings.memory_bytes // 2**20:,} MiB enough? "
                f"Its last words: {said[-1] if said else 'none'}"
            ) from error
        if "ready" not in header:
            raise ExtractionUnavailable(f"An extraction process cannot start: {header.get('unavailable')}")

    async def _receive(self) -> tuple[wire.Header, bytes]:
        prefix = await self._replies.readexactly(wire.PREFIX.size)
        head_length, body_length = wire.decode_prefix(prefix)
        # A child cannot answer with more than it may hold itself.
        if head_length > _HEADER_LIMIT or body_length > self._settings.memory_bytes:
            raise ValueError("a frame larger than the child's memory")
        head = await self._replies.readexactly(head_length)
        return wire.decode_header(head), await self._replies.readexactly(body_length)

    async def _explain_death(self) -> ChildFailed:
        await self.kill()
        status = self._process.returncode
        diagnosis = f"exit status {status}"
        if status == -signal.SIGXCPU:
            return ChildFailed(self._timeout_error(), diagnosis)
        if status == child_program.MEMORY_EXIT or any(sign in self._stderr for sign in _OUT_OF_MEMORY_SIGNS):
            return ChildFailed(self._memory_error(), diagnosis)
        return ChildFailed(ParseCrashed(), diagnosis)

    async def _keep_stderr(self, stream: asyncio.StreamReader) -> None:
        while piece := await stream.read(_STDERR_KEPT):
            self._stderr = (self._stderr + piece)[-_STDERR_KEPT:]

    def _timeout_error(self) -> ParseTimeout:
        return ParseTimeout(f"Reading the document took longer than {self._settings.timeout_seconds:g} seconds.")

    def _memory_error(self) -> ParseMemory:
        mebibytes = self._settings.memory_bytes // 2**20
        return ParseMemory(f"Reading the document needed more than {mebibytes:,} MiB of memory.")
