"""JSON logs, one line an event, one schema (`LINE`) for our own lines and for those of libraries.

Every line says when, how grave and what, and of which process; ours add the component. Whose it is (`correlation_id`,
`workspace_id`, `actor_id`, in a job `job_id`) and in which trace is there whenever it is known. Secrets are cut out
before a line is written.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from datalane.kit import tracing
from datalane.kit.redaction import redact

CONTEXT_FIELDS = ("correlation_id", "workspace_id", "actor_id", "job_id")
_UUID = {"type": "string", "format": "uuid"}

LINE: Mapping[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "A log line",
    "type": "object",
    "required": ["timestamp", "level", "event", "service"],
    "properties": {
        "timestamp": {"type": "string", "format": "date-time", "pattern": "Z$"},
        "level": {"enum": ["debug", "info", "warning", "error", "critical"]},
        "event": {"type": "string"},
        "service": {"type": "string"},
        "component": {"type": "string", "pattern": "^[a-z_.]+$"},
        "correlation_id": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
        "workspace_id": _UUID,
        "actor_id": _UUID,
        "job_id": _UUID,
        "trace_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "span_id": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
        "exception": {"type": "string"},
    },
}
"""The schema of every line. What an event adds stands beside these fields, as plain values."""

_OURS = frozenset(
    {*CONTEXT_FIELDS, "timestamp", "level", "service", "component", "method", "route", "trace_id", "span_id"}
)
"""Fields whose values are checked tokens, ids or our own words; looking for secrets in them would be half the cost."""


_subject: ContextVar[Callable[[], Mapping[str, str]] | None] = ContextVar("datalane_log_subject", default=None)


def configure_logging(level: str = "INFO", stream: TextIO | None = None, service: str = "datalane") -> None:
    """Send every log line of this process, which is `service`, to `stream` (standard error by default) as JSON.

    Our own lines go straight to the stream; those of libraries take the way through `logging` to the same schema.
    """
    target = stream or sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _merge_subject,
        _name_service(service),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, _redact_line, structlog.processors.JSONRenderer(serializer=_serialize)],
        logger_factory=structlog.WriteLoggerFactory(file=target),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _redact_line,
                structlog.processors.JSONRenderer(serializer=_serialize),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    # Our own line tells more than the server's about each request.
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # While the database is away, whoever needs a connection says so; the pool would add a traceback a try.
    logging.getLogger("asyncpg.pool").setLevel(logging.ERROR)


def get_logger(name: str) -> Any:
    """A logger whose keyword arguments become fields; `name` is its field `component`."""
    return structlog.get_logger(component=name)


def bind_context(**fields: Any) -> None:
    """Add fields to every later line of this task: see `CONTEXT_FIELDS`."""
    structlog.contextvars.bind_contextvars(**fields)


def clear_context() -> None:
    structlog.contextvars.clear_contextvars()


class speaking_of:  # noqa: N801 reads as the context manager that it is; a class costs half of a generator
    """Add `fields()` to every line inside; it is asked only when there is a line."""

    __slots__ = ("_fields", "_token")

    def __init__(self, fields: Callable[[], Mapping[str, str]]) -> None:
        self._fields = fields

    def __enter__(self) -> None:
        self._token = _subject.set(self._fields)

    def __exit__(self, *_: object) -> None:
        _subject.reset(self._token)


def _merge_subject(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    fields, ids = _subject.get(), tracing.trace_ids()
    if fields is not None:
        line = {**fields(), **line}
    if ids is not None:
        line["trace_id"], line["span_id"] = ids
    return line


def _name_service(service: str) -> Processor:
    def name(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
        line["service"] = service
        return line

    return name


def _redact_line(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    kept = {name: line[name] for name in _OURS if name in line}
    cleaned: EventDict = redact({name: value for name, value in line.items() if name not in _OURS})
    return {**cleaned, **kept}


def _serialize(value: Any, **options: Any) -> str:
    return orjson.dumps(value, default=options.get("default", str), option=orjson.OPT_NON_STR_KEYS).decode()
