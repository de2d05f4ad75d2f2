"""The child process: `python -P child.py '{"memory_bytes": …}'`.

Frames come in on standard input and go out on what was standard output; anything a library prints goes to standard
error. It is started by its path, not as a module of the package, so that nothing but the standard library is imported
before the limits stand.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import math
import os
import resource
import signal
import sys
import time
from typing import IO, Any

MEMORY_EXIT = 77
"""Exit status of a child that ran out of memory and could not say so."""

_PR_SET_PDEATHSIG = 1
_MEMORY_RESERVE = 64 * 1024 * 1024
_PROGRESS_EVERY = 0.1
_OPEN_FILES = 128


def main() -> int:
    settings: dict[str, Any] = json.loads(sys.argv[1])
    requests, replies = _take_over_pipes()
    _die_with_parent(settings["parent_pid"])
    _limit_resources(settings["memory_bytes"])
    try:
        serve = _prepare(settings, requests, replies)
    except Exception as error:
        _say(replies, {"unavailable": f"{type(error).__name__}: {error}"})
        return 1
    try:
        serve()
    except MemoryError:
        _grant_reserve(settings["memory_bytes"])
        _say(replies, {"out_of_memory": True})
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
        # The parent died before the signal was asked for.
        sys.exit(0)


def _limit_resources(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes + _MEMORY_RESERVE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))


def _grant_reserve(memory_bytes: int) -> None:
    limit = memory_bytes + _MEMORY_RESERVE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _allow_cpu(seconds: float) -> None:
    """End this process by SIGXCPU after `seconds` more of CPU time: the net below the parent's own clock."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    limit = math.ceil(usage.ru_utime + usage.ru_stime + seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def _prepare(settings: dict[str, Any], requests: IO[bytes], replies: IO[bytes]) -> Any:
    """Import, load the model, run the setup functions; return the loop that serves batches."""
    from datalane.knowledge.embeddings import WordLlamaEmbedder
    from datalane.knowledge.extraction import wire
    from datalane.knowledge.extraction.extract import extract_batch
    from datalane.knowledge.extraction.types import Bounds

    for path in settings["setup"]:
        module, _, function = path.partition(":")
        getattr(importlib.import_module(module), function)()
    embedder = WordLlamaEmbedder()
    embedder.load()
    # The matrix library takes its working memory at first use: it must not be a document that asks for it.
    embedder.embed([f"text number {number}" for number in range(64)])
    progress = _Progress(replies, settings["timeout_seconds"])
    bounds = Bounds(**settings["bounds"])

    def serve() -> None:
        _say(replies, {"ready": [embedder.name, embedder.version]})
        while prefix := requests.read(wire.PREFIX.size):
            head_length, body_length = wire.decode_prefix(prefix)
            header = wire.decode_header(requests.read(head_length))
            batch = wire.decode_batch(header, memoryview(requests.read(body_length)))
            progress.begin()
            replies.write(wire.encode_results(extract_batch(batch, embedder, progress.report, bounds)))
            replies.flush()

    return serve


class _Progress:
    """Tells the parent, at most every 0.1 s, that documents get done; the limit of time is per document."""

    def __init__(self, replies: IO[bytes], timeout_seconds: float) -> None:
        self._replies = replies
        self._timeout_seconds = timeout_seconds
        self._told = 0.0

    def begin(self) -> None:
        self._told = time.monotonic()
        _allow_cpu(self._timeout_seconds)

    def report(self) -> None:
        if time.monotonic() - self._told >= _PROGRESS_EVERY:
            self.begin()
            _say(self._replies, {"progress": True})


def _say(replies: IO[bytes], header: dict[str, Any]) -> None:
    from datalane.knowledge.extraction.wire import encode_frame

    replies.write(encode_frame(header))
    replies.flush()


if __name__ == "__main__":
    sys.exit(main())
