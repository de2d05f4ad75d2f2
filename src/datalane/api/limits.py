"""How much of a request body is read: counted as it streams in, whether or not the client declares a length."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from datalane.errors import LimitExceeded

_SCOPE_KEY = "datalane.body"


class BodyMeter:
    """Counts one request's body and raises `LimitExceeded`, which names the limit, past it.

    Nothing is checked before somebody reads: until then the route may still allow more.
    """

    __slots__ = ("_declared", "_limit", "_name", "_read", "_receive")

    def __init__(self, receive: Receive, declared: int, limit: int, name: str) -> None:
        self._receive, self._declared, self._read = receive, declared, 0
        self._limit, self._name = limit, name

    def allow(self, limit: int, name: str) -> None:
        self._limit, self._name = limit, name

    async def receive(self) -> Message:
        self._check(self._declared)
        message = await self._receive()
        if message["type"] == "http.request":
            self._read += len(message.get("body", b""))
            self._check(self._read)
        return message

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise LimitExceeded(f"the request body is over the limit of {self._limit} bytes (limits.{self._name})")


class BodyLimitMiddleware:
    """Every request body is metered; `limit` is in bytes."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        meter = BodyMeter(receive, int(declared) if declared.isdigit() else 0, self.limit, "request_body")
        scope[_SCOPE_KEY] = meter
        await self.app(scope, meter.receive, send)


def meter_of(scope: Scope) -> BodyMeter:
    found: BodyMeter = scope[_SCOPE_KEY]
    return found
