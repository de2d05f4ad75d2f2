"""Which cores a measurement runs on."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def one_core_for_both(servers: Sequence[int]) -> Iterator[None]:
    """Keep the processes that serve the two sides on one core, and this one on the others.

    Which core a process is on makes a statement of a millisecond up to a third slower, as one of two cores is busy
    with whoever asks, and the kernel leaves processes where they are for a while: long enough to be the 95th percentile
    of one side alone. Where it cannot be done, that is said.
    """
    own = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    if len(own) < 2 or not _keep(servers, own[-1]):
        print("  each side is on a core of the system's choosing", file=sys.stderr, flush=True)
        yield
        return
    os.sched_setaffinity(0, own[:-1])
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)


def _keep(pids: Sequence[int], core: int) -> bool:
    """False when the processes are another user's, or on another machine."""
    try:
        for pid in pids:
            os.sched_setaffinity(pid, [core])
    except OSError:
        return False
    return True
