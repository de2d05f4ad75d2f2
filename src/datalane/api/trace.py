"""The outermost layer: correlation id and trace in and out, one log line and one measure a request, and an answer."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from datalane.api.metrics import count_request
from datalane.api.problems import answer, log_failure, problem_of
from datalane.api.route_names import route_of
from datalane.errors import InvalidInput
from datalane.kit import sse, tracing
from datalane.kit.ids import new_correlation_id
from datalane.kit.logs import bind_context, clear_context, get_logger

HEADER = b"x-correlation-id"
TRACEPARENT = b"traceparent"
_TOKEN = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_CLIENT_CLOSED_REQUEST = 499
_STREAM = sse.MEDIA_TYPE.encode()

log = get_logger("datalane.api")


@dataclass(slots=True)
class Trace:
    """What is known about the request under way; `status` is None until the answer begins.

    `measured` is set by an answer that goes on: its measure is the time until it begins.
    """

    correlation_id: str
    began: float
    status: int | None = None
    measured: bool = False


def trace_of(scope: Scope) -> Trace:
    found: Trace = scope["datalane.trace"]
    return found


class TraceMiddleware:
    """Takes `X-Correlation-Id` or makes one, and says it on every answer. A malformed one is refused.

    A malformed `traceparent` is passed over, as its standard has it; while a trace is known the answer says it.
    """

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
        with tracing.unit(scope["method"], tracing.Kind.SERVER, _traceparent(scope)) as span:
            try:
                await self._answer(scope, receive, send, trace, malformed)
            finally:
                _tell(scope, trace, span)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, trace: Trace, malformed: bool) -> None:
        headers = [(HEADER, trace.correlation_id.encode())]
        current = tracing.current_traceparent()
        if current is not None:
            headers.append((TRACEPARENT, current.encode()))

        async def send_traced(message: Message) -> None:
            if message["type"] == "http.response.start":
                trace.status = message["status"]
                if _goes_on(message):
                    trace.measured = True
                    count_request(
                        scope["method"], route_of(scope), message["status"], time.perf_counter() - trace.began
                    )
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        try:
            if malformed:
                raise InvalidInput("X-Correlation-Id must be one value of 1 to 64 characters of A-Z a-z 0-9 . _ -")
            await self.app(scope, receive, send_traced)
        except ClientDisconnect:
            trace.status = trace.status or _CLIENT_CLOSED_REQUEST
        except Exception as error:
            await self._answer_failure(error, trace, scope, receive, send_traced)

    async def _answer_failure(self, error: Exception, trace: Trace, scope: Scope, receive: Receive, send: Send) -> None:
        """What no handler took. A response that has begun cannot be taken back: the connection is broken instead."""
        problem = problem_of(error)
        if problem.status >= 500:
            log_failure(error)
        if trace.status is not None:
            raise error
        await answer(problem, Request(scope, receive))(scope, receive, send)


def _goes_on(start: Message) -> bool:
    return any(name == b"content-type" and value.startswith(_STREAM) for name, value in start.get("headers", ()))


def _traceparent(scope: Scope) -> str | None:
    given = [value for name, value in scope["headers"] if name == TRACEPARENT]
    return tracing.read_traceparent(given[0].decode("latin-1")) if len(given) == 1 else None


def _tell(scope: Scope, trace: Trace, span: tracing.Span) -> None:
    """The request's one line, its measure and its span."""
    seconds, route, status = time.perf_counter() - trace.began, route_of(scope), trace.status or _CLIENT_CLOSED_REQUEST
    log.info("request", method=scope["method"], route=route, status=status, duration_ms=round(seconds * 1000, 2))
    if not trace.measured:
        count_request(scope["method"], route, status, seconds)
    span.rename(f"{scope['method']} {route}")
    span.tell(
        {
            "http.request.method": scope["method"],
            "http.route": route,
            "http.response.status_code": status,
            "datalane.correlation_id": trace.correlation_id,
        }
    )
    if status >= 500:
        span.fail(str(status))
