"""ASGI middleware for an application of one's own: each request of a workspace is one use of a quota.

app.add_middleware(UsageMiddleware, lane=lane, quota_key="api.requests", context_of=my_context)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from datalane.access.usage.enforcing import RequestQuota
from datalane.access.usage.service import Doors
from datalane.contracts.context import Context
from datalane.errors import UsageLimitReached

ContextOf = Callable[[Scope], Awaitable[Context | None]]


class UsageMiddleware:
    """`context_of` says in which workspace a request acts; None is not counted. At the limit the application is not
    asked: the answer is 429 as a problem document, with `Retry-After` and `RateLimit` headers."""

    def __init__(self, app: ASGIApp, lane: Doors, quota_key: str, context_of: ContextOf) -> None:
        self.app = app
        self.context_of = context_of
        self.quota = RequestQuota(lane, quota_key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = await self.context_of(scope) if scope["type"] == "http" else None
        if context is None:
            await self.app(scope, receive, send)
            return
        try:
            told = await self.quota.admit(context)
        except UsageLimitReached as refused:
            await _refuse(refused, context.correlation_id, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", []), *_encoded(told)]
                message = {**message, "headers": headers}
            await send(message)

        await self.app(scope, receive, with_headers)


async def _refuse(refused: UsageLimitReached, correlation_id: str, send: Send) -> None:
    problem = {
        "type": "about:blank",
        "title": "Too Many Requests",
        "status": refused.status,
        "detail": str(refused),
        "code": refused.code,
        "correlation_id": correlation_id,
        **refused.told,
    }
    headers = {"content-type": "application/problem+json", **refused.http_headers}
    await send({"type": "http.response.start", "status": refused.status, "headers": _encoded(headers)})
    await send({"type": "http.response.body", "body": orjson.dumps(problem)})


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]
