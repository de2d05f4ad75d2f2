"""The outermost layer: a correlation id in and out, one log line a request, and an answer whatever happens inside."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from datalane.api.problems import answer, log_failure, problem_of
from datalane.errors import InvalidInput
from datalane.kit.ids import new_correlation_id
from datalane.kit.logs import bind_context, clear_context, get_logger

HEADER = b"x-correlation-id"
_TOKEN = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_CLIENT_CLOSED_REQUEST = 499

log = get_logger("datalane.api")


@dataclass(slots=True)
class Trace:
    """What is known about the request under way; `status` is None until the answer begins."""

    correlation_id: str
    began: float
    status: int | None = None


def trace_of(scope: Scope) -> Trace:
    found: Trace = scope["datalane.trace"]
    return found


class TraceMiddleware:
    """Takes `X-Correlation-Id` or makes one, and says it on every answer. A malformed one is refused."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = [value for name, value in scope["headers"] if name == HEADER]
        malformed = bool(given) and (len(given) > 1 or not _TOKEN.fullmatch(given[0]))
        trace = Trace(new_correlation_id() if malformed or not given else given[0].decode(), time.perf_counter())
        scope["datalane.trace"] = trace
        clear_context()
        bind_context(correlation_id=trace.correlation_id)

        async def send_traced(message: Message) -> None:
            if message["type"] == "http.response.start":
                trace.status = message["status"]
                message["headers"] = [*message.get("headers", ()), (HEADER, trace.correlation_id.encode())]
            await send(message)

        try:
            if malformed:
                raise InvalidInput("X-Correlation-Id must be one value of 1 to 64 characters of A-Z a-z 0-9 . _ -")
            await self.app(scope, receive, send_traced)
        except ClientDisconnect:
            trace.status = trace.status or _CLIENT_CLOSED_REQUEST
        except Exception as error:
            await self._answer_failure(error, trace, scope, receive, send_traced)
        finally:
            _log_request(scope, trace)

    async def _answer_failure(self, error: Exception, trace: Trace, scope: Scope, receive: Receive, send: Send) -> None:
        """What no handler took. A response that has begun cannot be taken back: the connection is broken instead."""
        problem = problem_of(error)
        if problem.status >= 500:
            log_failure(error)
        if trace.status is not None:
            raise error
        await answer(problem, Request(scope, receive))(scope, receive, send)


def _log_request(scope: Scope, trace: Trace) -> None:
    fields: dict[str, Any] = {
        "method": scope["method"],
        "route": getattr(scope.get("route"), "path_format", None) or "unmatched",
        "status": trace.status,
        "duration_ms": round((time.perf_counter() - trace.began) * 1000, 2),
    }
    log.info("request", **fields)
