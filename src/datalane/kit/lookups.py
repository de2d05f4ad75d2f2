"""Looking names up, in threads of their own of which nobody holds more than a part.

A name server that does not answer holds its thread for longer than anybody waits. So there are many, whoever asks has
up to `MOST_OF_ONE` of them at a time, and waits for a place when there is none. That no place was free says nothing of
the name: `LookupBusy` tells the two apart.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from threading import Lock
from typing import Any

from datalane.errors import Busy

MOST, MOST_OF_ONE = 64, 8
"""Lookups at a time, of all and of one who asks."""
RETRY_AFTER = 10.0
"""Seconds after which somebody who found no place is asked to come again."""
_PATIENCE = 5.0
"""Seconds to wait for a place, where nobody says how long."""
_LOOK_AGAIN = 0.02
"""Seconds. A place is held by a thread, which no event loop waits for."""


class LookupBusy(Busy):
    """Too many names are being looked up for whoever asks, or for all."""

    code = "lookup_busy"

    def __init__(self) -> None:
        super().__init__("too many names are being looked up already; try again later", RETRY_AFTER)


class Lookups:
    """The threads, and who has how many. `most_of_one` is of all that `asking` says the same name for."""

    def __init__(self, most: int = MOST, most_of_one: int = MOST_OF_ONE) -> None:
        self._threads = ThreadPoolExecutor(most, "datalane-lookup")
        self._most = most
        self._most_of_one = most_of_one
        self._under_way: Counter[Hashable] = Counter()
        self._lock = Lock()

    async def find(self, host: str, port: int) -> Sequence[Any]:
        """As `look_up`. Raises what that raises, and `LookupBusy`."""
        whose, deadline = _ASKING.get() or (None, time.monotonic() + _PATIENCE)
        while not self._enter(whose):
            if time.monotonic() >= deadline:
                raise LookupBusy
            await asyncio.sleep(_LOOK_AGAIN)
        looking = self._threads.submit(look_up, host, port)
        looking.add_done_callback(lambda _: self._leave(whose))
        return await asyncio.wrap_future(looking)

    def _enter(self, whose: Hashable) -> bool:
        with self._lock:
            free = self._under_way.total() < self._most and self._under_way[whose] < self._most_of_one
            if free:
                self._under_way[whose] += 1
            return free

    def _leave(self, whose: Hashable) -> None:
        with self._lock:
            self._under_way[whose] -= 1
            if not self._under_way[whose]:
                del self._under_way[whose]


_ASKING: ContextVar[tuple[Hashable, float] | None] = ContextVar("asking", default=None)


@contextmanager
def asking(whose: Hashable, patience: timedelta) -> Iterator[None]:
    """What is looked up in the block is for `whose`, and waits for a place until `patience` has passed from now on. It
    reaches through a pool of connections, which knows nothing of either."""
    token = _ASKING.set((whose, time.monotonic() + patience.total_seconds()))
    try:
        yield
    finally:
        _ASKING.reset(token)


def look_up(host: str, port: int) -> Sequence[Any]:
    """Where `host` is, as `socket.getaddrinfo` says it."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
