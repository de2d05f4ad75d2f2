"""JSON logs, one line an event, one schema for our own lines and for those of libraries.

Every line has `timestamp` (UTC, ISO 8601), `level` and `event`, and ours has `component`; `correlation_id`,
`workspace_id` and `actor_id` are there whenever the context is known; a request's last line adds `route`, `status` and
`duration_ms`. Secrets are cut out before a line is written.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from datalane.kit.redaction import redact

CONTEXT_FIELDS = ("correlation_id", "workspace_id", "actor_id")

_OURS = frozenset({*CONTEXT_FIELDS, "timestamp", "level", "component", "method", "route"})
"""Fields whose values are checked tokens, ids or our own words; looking for secrets in them would be half the cost."""


def configure_logging(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send every log line of this process to `stream` (standard error by default) as JSON.

    Our own lines go straight to the stream; those of libraries take the way through `logging` to the same schema.
    """
    target = stream or sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
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


def _redact_line(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    kept = {name: line[name] for name in _OURS if name in line}
    cleaned: EventDict = redact({name: value for name, value in line.items() if name not in _OURS})
    return {**cleaned, **kept}


def _serialize(value: Any, **options: Any) -> str:
    return orjson.dumps(value, default=options.get("default", str), option=orjson.OPT_NON_STR_KEYS).decode()
