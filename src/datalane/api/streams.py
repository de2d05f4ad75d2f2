"""Answers that go on: server-sent events for as long as the client stays and may see them.

A piece is asked for when the one before was taken, so a slow client holds one piece and no more; one that takes nothing
for a minute is left. A stream has a slot, of which a process has `api.live_streams` and a workspace a part. When the
process stops, every stream says so and ends.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import Context as Variables
from dataclasses import dataclass
from uuid import UUID

import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from datalane.api.metrics import OPEN_STREAMS
from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.errors import Busy, DatabaseUnavailable, Forbidden, NotFound, RateLimited, Unauthenticated
from datalane.kit import sse
from datalane.kit.logs import get_logger
from datalane.settings import ApiSettings

_RETRY_SECONDS = 5
_PATIENCE_SECONDS = 60
_FAREWELL_SECONDS = 1
_ENDS = (Unauthenticated, Forbidden, NotFound, DatabaseUnavailable)
"""What the client is told in an event, as the answer has begun."""

log = get_logger("datalane.api")

Pieces = AsyncGenerator[bytes, None]


class Streams:
    """The open streams of this process."""

    def __init__(self, api: ApiSettings) -> None:
        self.stopping = asyncio.Event()
        self._most, self._each = api.live_streams, api.live_streams_per_workspace
        self._open: Counter[UUID] = Counter()
        OPEN_STREAMS.set(0)

    def stop(self) -> None:
        """End all streams, and open no more."""
        self.stopping.set()

    @contextmanager
    def slot(self, workspace_id: UUID) -> Iterator[None]:
        """Room for one stream. Raises `Busy` when the process has no more, `RateLimited` when the workspace has not."""
        if self.stopping.is_set():
            raise Busy("the lane is stopping; connect again", _RETRY_SECONDS)
        if self._open.total() >= self._most:
            raise Busy(f"{self._most} live streams are open, which is the most (api.live_streams)", _RETRY_SECONDS)
        if self._open[workspace_id] >= self._each:
            raise RateLimited(
                f"the workspace has {self._each} live streams open, which is the most for one "
                "(api.live_streams_per_workspace); close one",
                _RETRY_SECONDS,
            )
        self._open[workspace_id] += 1
        OPEN_STREAMS.set(self._open.total())
        try:
            yield
        finally:
            self._open[workspace_id] -= 1
            if not self._open[workspace_id]:
                del self._open[workspace_id]
            OPEN_STREAMS.set(self._open.total())


@dataclass(frozen=True)
class LiveCaller:
    """Implements `datalane.contracts.http.Watcher`. `admit` asks the door again."""

    context: Context
    database: Database
    streams: Streams
    admit: Callable[[], Awaitable[Context | None]]

    async def check(self) -> Context:
        context = await self.admit()
        if context is None or context.workspace_id != self.context.workspace_id:
            raise NotFound("no such workspace")
        return context

    def stream(self, pieces: Pieces) -> Response:
        return EventStream(pieces, self.streams, self.context.workspace_id)


class EventStream(Response):
    """Whole blocks of server-sent events, one piece after the other."""

    media_type = sse.MEDIA_TYPE

    def __init__(self, pieces: Pieces, streams: Streams, workspace_id: UUID) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._pieces, self._streams, self._workspace_id = pieces, streams, workspace_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._streams.slot(self._workspace_id):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            sending, gone, stopping = [
                asyncio.create_task(work, context=_untraced())
                for work in (self._send_all(send), _until_gone(receive), self._streams.stopping.wait())
            ]
            try:
                await asyncio.wait((sending, gone, stopping), return_when=asyncio.FIRST_COMPLETED)
                ended = sending.done() or gone.done()
            finally:
                for task in (sending, gone, stopping):
                    task.cancel()
                await asyncio.gather(sending, gone, stopping, return_exceptions=True)
                await self._pieces.aclose()
            if not sending.cancelled():
                sending.result()
            elif not ended:
                await self._say_goodbye(send)

    async def _send_all(self, send: Send) -> None:
        try:
            async for piece in self._pieces:
                await _send_piece(send, piece)
        except _ENDS as error:
            log.info("stream_ended", reason=error.code)
            await _send_piece(send, sse.end(error.code))
        await _send_piece(send, b"", more=False)

    async def _say_goodbye(self, send: Send) -> None:
        try:
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await _send_piece(send, sse.end("shutdown"))
                await _send_piece(send, b"", more=False)
        except TimeoutError:
            raise ClientDisconnect from None


async def _send_piece(send: Send, piece: bytes, *, more: bool = True) -> None:
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await send({"type": "http.response.body", "body": piece, "more_body": more})
    except TimeoutError:
        log.warning("stream_abandoned", reason="the client takes nothing")
        raise ClientDisconnect from None
    except OSError:
        raise ClientDisconnect from None


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _untraced() -> Variables:
    """What is bound to log lines, without the request's span: a stream of hours is no part of it."""
    variables, bound = Variables(), structlog.contextvars.get_contextvars()
    variables.run(structlog.contextvars.bind_contextvars, **bound)
    return variables
