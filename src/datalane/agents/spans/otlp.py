"""OTLP/HTTP: the bodies of a request, protobuf or JSON, as plain spans, and the answer in the same encoding.

Source: https://opentelemetry.io/docs/specs/otlp/ and `opentelemetry/proto/trace/v1/trace.proto`. Fields that are not
known are passed over, as that asks.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import orjson
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from datalane.agents.spans.values import of_json, of_protobuf
from datalane.errors import InvalidInput, LimitExceeded

Encoding = Literal["protobuf", "json"]
MEDIA_TYPES: Mapping[str, Encoding] = {"application/x-protobuf": "protobuf", "application/json": "json"}
COMPRESSIONS = ("gzip", "deflate")
MOST_SPANS = 10_000
"""In one request."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FAILED = 2
_WITH_HEADER = 32 + zlib.MAX_WBITS
"""Tells gzip and zlib by their first bytes."""


@dataclass(frozen=True, slots=True)
class Span:
    """A span that has ended. Ids are in hexadecimal; `service` is the `service.name` of its resource. `is_failed` is
    its status; `message` and `exception` (a type) say why, where that is known."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    started_at: datetime
    ended_at: datetime
    is_failed: bool = False
    message: str = ""
    exception: str = ""
    service: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a span was not taken."""

    reason: str


def decompress(body: bytes, compressions: Sequence[str], limit: int) -> bytes:
    """What was sent, at most `limit` bytes of it. Raises `InvalidInput` for a damaged body, `LimitExceeded` past the
    limit, which is found without unpacking more than that."""
    for compression in reversed(compressions):
        if compression in COMPRESSIONS:
            body = _inflate(body, compression, limit)
    if len(body) > limit:
        raise _too_large(limit)
    return body


def read(body: bytes, encoding: Encoding) -> list[Span | Refused]:
    """The spans of a request. Raises `InvalidInput` for what is no such request, `LimitExceeded` for too many."""
    spans: list[Span | Refused] = []
    for span in _of_protobuf(body) if encoding == "protobuf" else _of_json(body):
        spans.append(span)
        if len(spans) > MOST_SPANS:
            raise LimitExceeded(f"the request has more than {MOST_SPANS:,} spans; export them in smaller batches")
    return spans


def answer(rejected: int, message: str, encoding: Encoding) -> bytes:
    """An `ExportTraceServiceResponse`: empty when all is well, as the protocol has it."""
    if encoding == "json":
        partial = {"rejectedSpans": str(rejected), "errorMessage": message}
        return orjson.dumps({"partialSuccess": partial} if rejected or message else {})
    response = ExportTraceServiceResponse()
    if rejected or message:
        response.partial_success.CopyFrom(ExportTracePartialSuccess(rejected_spans=rejected, error_message=message))
    return bytes(response.SerializeToString())


def _inflate(body: bytes, compression: str, limit: int) -> bytes:
    inflating = zlib.decompressobj(_WITH_HEADER)
    try:
        inflated = inflating.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidInput(f"the body is not {compression}: {error}") from None
    if len(inflated) > limit:
        raise _too_large(limit)
    if not inflating.eof or inflating.unused_data:
        raise InvalidInput(f"the body is not whole: its {compression} does not end where the body does")
    return inflated


def _too_large(limit: int) -> LimitExceeded:
    return LimitExceeded(
        f"the spans are over the limit of {limit} bytes (limits.spans); export them in smaller batches"
    )


def _of_protobuf(body: bytes) -> Iterator[Span | Refused]:
    request = ExportTraceServiceRequest()
    try:
        request.ParseFromString(body)
    except DecodeError as error:
        raise InvalidInput(f"the body is no ExportTraceServiceRequest: {error}") from None
    for resource in request.resource_spans:
        service = _service({one.key: of_protobuf(one.value) for one in resource.resource.attributes})
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield _span(
                    (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()),
                    (span.start_time_unix_nano, span.end_time_unix_nano),
                    span.name,
                    (span.status.code, span.status.message),
                    [
                        (event.name, {one.key: of_protobuf(one.value) for one in event.attributes})
                        for event in span.events
                    ],
                    service,
                    {one.key: of_protobuf(one.value) for one in span.attributes},
                )


def _of_json(body: bytes) -> Iterator[Span | Refused]:
    """Ids are hexadecimal and numbers of 64 bits may be texts, as the protocol's own JSON has it."""
    try:
        document = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not valid JSON: {error}") from None
    for resource in _objects(_object(document), "resourceSpans"):
        service = _service(_attributes(_object(resource.get("resource"))))
        for scope in _objects(resource, "scopeSpans"):
            for span in _objects(scope, "spans"):
                status = _object(span.get("status"))
                yield _span(
                    (
                        _text(span, "traceId").lower(),
                        _text(span, "spanId").lower(),
                        _text(span, "parentSpanId").lower(),
                    ),
                    (_whole(span, "startTimeUnixNano"), _whole(span, "endTimeUnixNano")),
                    _text(span, "name"),
                    (_whole(status, "code"), _text(status, "message")),
                    [(_text(event, "name"), _attributes(event)) for event in _objects(span, "events")],
                    service,
                    _attributes(span),
                )


def _span(
    ids: tuple[str, str, str],
    times: tuple[int, int],
    name: str,
    status: tuple[int, str],
    events: Sequence[tuple[str, Mapping[str, Any]]],
    service: str,
    attributes: Mapping[str, Any],
) -> Span | Refused:
    trace_id, span_id, parent_id = ids
    if not _is_id(trace_id, 32):
        return Refused("no valid trace id")
    if not _is_id(span_id, 16) or (parent_id.strip("0") and not _is_id(parent_id, 16)):
        return Refused("no valid span id")
    if not 0 < times[0] <= times[1] < 2**64:
        return Refused("no time of its start, or an end before it")
    started_at, ended_at = (_EPOCH + timedelta(microseconds=each // 1_000) for each in times)
    thrown: Mapping[str, Any] = next((said for event, said in events if event == "exception"), {})
    message = status[1] or str(thrown.get("exception.message", ""))
    return Span(
        trace_id,
        span_id,
        parent_id if parent_id.strip("0") else None,
        _storable(name),
        started_at,
        ended_at,
        status[0] == _FAILED,
        _storable(message),
        _storable(str(thrown.get("exception.type", ""))),
        service,
        attributes,
    )


def _is_id(text: str, length: int) -> bool:
    return len(text) == length and set(text) <= set("0123456789abcdef") and text.strip("0") != ""


def _service(attributes: Mapping[str, Any]) -> str:
    name = attributes.get("service.name")
    return name if isinstance(name, str) and not name.startswith("unknown_service") else ""


def _storable(text: str) -> str:
    return text.replace("\x00", "\ufffd")


def _object(value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInput("the body is no ExportTraceServiceRequest: an object was expected")
    return value


def _objects(within: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = within.get(name) or []
    if not isinstance(found, list):
        raise InvalidInput(f"the body is no ExportTraceServiceRequest: {name} is no list")
    return [_object(each) for each in found]


def _attributes(within: Mapping[str, Any]) -> dict[str, Any]:
    return {_text(one, "key"): of_json(one.get("value")) for one in _objects(within, "attributes")}


def _text(within: Mapping[str, Any], name: str) -> str:
    value = within.get(name)
    return value if isinstance(value, str) else ""


def _whole(within: Mapping[str, Any], name: str) -> int:
    """0 for what is no whole number, which no field takes for something."""
    value = within.get(name, 0)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 32:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
