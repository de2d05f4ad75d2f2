"""Spans through OpenTelemetry: requests, jobs and the statements they send. Imported only where traces are recorded.

An application that has set a tracer provider keeps it. Otherwise spans are exported over OTLP as OpenTelemetry's own
variables say (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER`, `OTEL_SERVICE_NAME`, …); when nobody takes them
they are dropped, never waited for. Attributes follow the semantic conventions for HTTP, databases and messaging.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from datalane.errors import ConfigurationError
from datalane.kit.tracing import Attributes, Kind, Span

try:
    from opentelemetry import trace
    from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
except ImportError as missing:
    raise ConfigurationError(
        "DATALANE_TELEMETRY__TRACES: to record traces, install the package with its extra: datalane[traces]"
    ) from missing

_EXPORT_SECONDS = 5
_KINDS = {
    Kind.INTERNAL: SpanKind.INTERNAL,
    Kind.SERVER: SpanKind.SERVER,
    Kind.CLIENT: SpanKind.CLIENT,
    Kind.CONSUMER: SpanKind.CONSUMER,
}
_TARGET = re.compile(r"\b(?:datalane|app)\.\w+")


def start_recording(service: str) -> OpenTelemetry:
    """Record from now on, as `service` unless OTEL_SERVICE_NAME says otherwise."""
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(_exporting(service))
    return OpenTelemetry()


def _exporting(service: str) -> TracerProvider:
    import socket
    from os import getpid

    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    own = Resource({SERVICE_NAME: service, SERVICE_INSTANCE_ID: f"{socket.gethostname()}:{getpid()}"})
    provider = TracerProvider(resource=Resource.create().merge(own).merge(OTELResourceDetector().detect()))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=_EXPORT_SECONDS)))
    return provider


class _Recorded:
    """Our view of a span of OpenTelemetry."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def tell(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def fail(self, error_class: str) -> None:
        self._span.set_status(Status(StatusCode.ERROR))
        self._span.set_attribute("error.type", error_class)


class OpenTelemetry:
    """A tracer (`datalane.kit.tracing.Tracer`) on the process's tracer provider."""

    records = True

    def __init__(self) -> None:
        self._tracer = trace.get_tracer("datalane")

    def current(self) -> str | None:
        context = trace.get_current_span().get_span_context()
        if not context.is_valid:
            return None
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    @contextmanager
    def span(
        self, name: str, kind: Kind, parent: str | None, links: Sequence[str], attributes: Attributes
    ) -> Iterator[Span]:
        beginning = trace.set_span_in_context(trace.NonRecordingSpan(_context(parent)))
        linked = [trace.Link(_context(each)) for each in links]
        with _under_way(self._tracer.start_span(name, beginning, _KINDS[kind], attributes, linked)) as span:
            yield span

    @contextmanager
    def child(self, name: str, kind: Kind, attributes: Attributes) -> Iterator[Span]:
        with _under_way(self._tracer.start_span(name, kind=_KINDS[kind], attributes=attributes)) as span:
            yield span

    def fail(self, error_class: str) -> None:
        _Recorded(trace.get_current_span()).fail(error_class)

    def saw_query(self, query: Any) -> None:
        """`query` is asyncpg's LoggedQuery; it was answered just now. Only statements of a traced unit are told.

        A text is told when its values went as parameters: those are left out, and so are texts with literals.
        """
        parent = trace.get_current_span()
        if not parent.is_recording():
            return
        ended = time.time_ns()
        keyword, _, _ = query.query.lstrip().partition(" ")
        target = _TARGET.search(query.query)
        summary = " ".join(filter(None, (keyword.strip(";\n").upper(), target and target.group())))
        attributes: dict[str, str] = {"db.system.name": "postgresql", "db.query.summary": summary}
        if query.args:
            attributes["db.query.text"] = query.query
        span = self._tracer.start_span(
            summary, kind=SpanKind.CLIENT, attributes=attributes, start_time=ended - int(query.elapsed * 1e9)
        )
        if query.exception is not None:
            span.set_status(Status(StatusCode.ERROR))
            span.set_attribute("error.type", type(query.exception).__name__)
            span.set_attribute("db.response.status_code", str(getattr(query.exception, "sqlstate", "")))
        span.end(ended)


@contextmanager
def _under_way(span: trace.Span) -> Iterator[Span]:
    """An error is told by its class only: a message may hold what is a tenant's, or a secret."""
    ours = _Recorded(span)
    with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield ours
        except BaseException as error:
            ours.fail(type(error).__name__)
            raise


def _context(traceparent: str | None) -> SpanContext:
    if traceparent is None:
        return trace.INVALID_SPAN_CONTEXT
    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
