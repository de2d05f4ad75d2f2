"""What spans say by themselves: bodies within bounds, values, kinds and classes of errors."""

from __future__ import annotations

import gzip
import tracemalloc
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalane.agents.runs.states import ERROR_CLASSES
from datalane.agents.spans import otlp
from datalane.agents.spans.faults import error_class_of
from datalane.agents.spans.genai import tell
from datalane.agents.spans.otlp import Span
from datalane.agents.spans.taking import read_batch
from datalane.agents.spans.values import of_json
from datalane.errors import InvalidInput, LimitExceeded
from datalane.settings import Limits

NOW = datetime(2026, 3, 1, tzinfo=UTC)
MIB = 1024 * 1024


def a_span(parent: str | None = "b" * 16, name: str = "a span", **said: Any) -> Span:
    attributes = {f"gen_ai.{key.replace('__', '.')}": value for key, value in said.items()}
    return Span("a" * 32, "a" * 16, parent, name, NOW, NOW, attributes=attributes)


@pytest.mark.parametrize(
    ("said", "kind", "step"),
    [
        ({"operation__name": "chat"}, "model", "model"),
        ({"operation__name": "text_completion"}, "model", "model"),
        ({"operation__name": "generate_content"}, "model", "model"),
        ({"operation__name": "embeddings"}, "retrieval", "retrieval"),
        ({"operation__name": "retrieval"}, "retrieval", "retrieval"),
        ({"operation__name": "execute_tool"}, "tool", None),
        ({"operation__name": "invoke_agent"}, "agent", "custom"),
        ({"operation__name": "create_agent"}, "custom", "custom"),
        ({"operation__name": "of a time to come"}, "custom", "custom"),
        ({"tool__name": "look_up", "agent__name": "helper"}, "tool", None),
        ({"system": "older", "request__model": "small"}, "model", "model"),
        ({"agent__name": "helper"}, "agent", "custom"),
    ],
)
def test_an_operation_has_a_kind_also_where_it_is_not_named(said: dict[str, Any], kind: str, step: str | None) -> None:
    span = a_span(**said)
    told = tell(span)
    assert told is not None
    assert (told.kind, told.step_in(span)) == (kind, step)


def test_a_span_of_something_else_tells_nothing_unless_it_is_the_root() -> None:
    assert tell(a_span(name="SELECT")) is None
    told = tell(a_span(parent=None, name="POST /ask"))
    assert told is not None
    assert (told.kind, told.service, told.agent) == ("other", "POST /ask", None)


@pytest.mark.parametrize(
    ("error", "of_model", "expected"),
    [
        ("timeout", True, "timeout"),
        ("openai.APITimeoutError", True, "timeout"),
        ("TimedOut", False, "timeout"),
        ("429", True, "provider_error"),
        ("500", False, "provider_error"),
        ("401", True, "authz_denied"),
        ("PermissionDeniedError", True, "authz_denied"),
        ("RateLimitError", True, "provider_error"),
        ("java.net.UnknownHostException", False, "dependency_unavailable"),
        ("ConnectionRefusedError", False, "dependency_unavailable"),
        ("pydantic.ValidationError", False, "validation_error"),
        ("ContentFilterError", True, "policy_denied"),
        ("KeyError", False, "unexpected_internal"),
        ("_OTHER", True, "provider_error"),
        ("", False, "unexpected_internal"),
    ],
)
def test_an_error_has_a_class_by_its_type(error: str, of_model: bool, expected: str) -> None:
    assert error_class_of(error, of_model) == expected
    assert expected in ERROR_CLASSES


@pytest.mark.parametrize("error", ["429", 429])
def test_a_span_with_an_error_has_failed_whatever_its_status(error: Any) -> None:
    span = Span("a" * 32, "a" * 16, None, "chat", NOW, NOW, attributes={"error.type": error})
    told = tell(span)
    assert told is not None
    assert (told.error_class, told.error_message) == ("provider_error", "429")


def test_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(256 * MIB))
    tracemalloc.start()
    try:
        with pytest.raises(LimitExceeded, match=r"limits\.spans"):
            otlp.decompress(bomb, ["gzip"], MIB)
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()


def test_values_nest_as_deep_as_they_may() -> None:
    value: dict[str, Any] = {"stringValue": "the end"}
    for _ in range(300):
        value = {"arrayValue": {"values": [value]}}
    assert "[nested too deeply]" in orjson.dumps(of_json(value)).decode()


KEYS = [
    *("resourceSpans", "scopeSpans", "spans", "resource", "attributes", "key", "value", "status", "events", "traceId"),
    *(
        "spanId",
        "startTimeUnixNano",
        "endTimeUnixNano",
        "stringValue",
        "intValue",
        "arrayValue",
        "kvlistValue",
        "values",
    ),
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner),
    max_leaves=40,
)


@given(json_values)
def test_any_json_is_read_or_refused(value: Any) -> None:
    try:
        text = orjson.dumps(value)
    except orjson.JSONEncodeError:
        return
    for body in (text, orjson.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [value]}]}]})):
        try:
            read_batch(body, "json", (), Limits())
        except InvalidInput:
            continue


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for compressions in ((), ("gzip",)):
        try:
            read_batch(body, "protobuf", compressions, Limits())
        except InvalidInput:
            continue
