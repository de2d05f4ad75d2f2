"""Traces: W3C trace context taken from a request, kept with the jobs it causes, handed on to whom we call.

By default a trace passes through: whoever traces finds their ids in our logs, in our jobs and at the other end. With
`telemetry.traces=record` the lane adds spans of its own (`datalane.kit.recording`). Either way nothing happens to work
that nobody traces. Source: https://www.w3.org/TR/trace-context/ (`tracestate` is not kept, which it allows).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from enum import StrEnum
from typing import Any, Protocol

_HEADER = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?P<ids>(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(?P<later>-.*)?"
)

SpanContext = AbstractContextManager["Span"]
Attributes = Mapping[str, str | int | float | bool]


class Kind(StrEnum):
    """What a span is to its parent: see SpanKind of OpenTelemetry."""

    SERVER = "server"
    CONSUMER = "consumer"


class Span(Protocol):
    """A unit of work under way."""

    def rename(self, name: str) -> None: ...
    def tell(self, attributes: Attributes) -> None: ...
    def fail(self, error_class: str) -> None: ...


class Tracer(Protocol):
    """`current` is the trace context of what runs now, in the form of the header `traceparent`."""

    records: bool

    def current(self) -> str | None: ...
    def span(
        self, name: str, kind: Kind, parent: str | None, links: Sequence[str], attributes: Attributes
    ) -> SpanContext: ...
    def fail(self, error_class: str) -> None: ...
    def saw_query(self, query: Any) -> None: ...


class _NoSpan:
    def rename(self, name: str) -> None: ...
    def tell(self, attributes: Attributes) -> None: ...
    def fail(self, error_class: str) -> None: ...


NO_SPAN: Span = _NoSpan()
_passing: ContextVar[str | None] = ContextVar("datalane_traceparent", default=None)


class PassOn:
    """Keeps the caller's trace context for whom we cause or call; records nothing."""

    records = False

    def current(self) -> str | None:
        return _passing.get()

    @contextmanager
    def span(
        self, name: str, kind: Kind, parent: str | None, links: Sequence[str], attributes: Attributes
    ) -> Iterator[Span]:
        token = _passing.set(parent)
        try:
            yield NO_SPAN
        finally:
            _passing.reset(token)

    def fail(self, error_class: str) -> None: ...
    def saw_query(self, query: Any) -> None: ...


_tracer: Tracer = PassOn()


def use(tracer: Tracer) -> None:
    """From now on `tracer` says what happens to traces in this process."""
    global _tracer
    _tracer = tracer


def records() -> bool:
    return _tracer.records


def read_traceparent(header: str) -> str | None:
    """The trace context in a header, None when it is malformed: the standard has the receiver begin anew then.

    What a later version of the standard adds is left out.
    """
    found = _HEADER.fullmatch(header.strip())
    if found is None or (found["version"] == "00" and found["later"]):
        return None
    return f"00-{found['ids']}"


def current_traceparent() -> str | None:
    """The trace context of what runs now, for a header `traceparent`; None while nobody traces."""
    return _tracer.current()


def trace_ids() -> tuple[str, str] | None:
    """The trace id (32 hex digits) and span id (16) of what runs now."""
    current = _tracer.current()
    if current is None:
        return None
    _, trace_id, span_id, _ = current.split("-")
    return trace_id, span_id


def unit(
    name: str, kind: Kind, parent: str | None, attributes: Attributes | None = None, links: Sequence[str] = ()
) -> SpanContext:
    """A unit of work with a beginning of its own (a request, a job), in the trace of `parent` or in a new one."""
    return _tracer.span(name, kind, parent, links, attributes or {})


def fail(error_class: str) -> None:
    """What runs now has failed, although no error leaves it."""
    _tracer.fail(error_class)


def saw_query(query: Any) -> None:
    """For `asyncpg.Connection.add_query_logger`: a statement of what runs now was answered."""
    _tracer.saw_query(query)
