"""The receiver behind a socket: OpenTelemetry's own SDK and exporter as its client, and what hostile clients send."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry import trace as otel
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Status, StatusCode
from tests.apps import shared_app
from tests.integration.agents.spans.telling import TRACE, agent, body, chat, tool
from tests.integration.api.conftest import Join, OpenLane, Person, ada, bob, client, join, sign_up
from tests.integration.work.streaming import serving

from datalane.agents import routes
from datalane.agents.spans.otlp import MOST_SPANS
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.domains import make_runtime
from datalane.engine.registration import register
from datalane.settings import Settings

pytestmark = pytest.mark.one_database

__all__ = ["ada", "bob", "client", "join", "sign_up"]

PATH = "/agents/otlp/v1/traces"
PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def lane(database: Database) -> OpenLane:
    await register(database, {}, [], list(EVENTS))
    return OpenLane(database, Settings())


@pytest.fixture
def app(lane: OpenLane) -> FastAPI:
    return shared_app(lane, routes.router, agents=make_runtime(lane.settings).agents)


@pytest.fixture
async def served(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(app) as (opened, _):
        yield opened


async def key_of(client: httpx.AsyncClient, person: Person, *scopes: str) -> dict[str, str]:
    asked = {"name": "spans", "role": "member", "scopes": list(scopes) or ["agent_run.record"]}
    answer = await client.post("/api-keys/create", json=asked, headers=person.headers)
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.json()['key']}"}


async def runs_of(client: httpx.AsyncClient, person: Person) -> list[dict[str, Any]]:
    listed = (await client.get("/agents/runs/list?page_size=100", headers=person.headers)).json()["data"]
    return [(await client.get(f"/agents/runs/{run['run_id']}", headers=person.headers)).json() for run in listed]


def go_once(url: str, headers: Mapping[str, str], compression: Compression, batch: int) -> str:
    """An agent that calls a model, a tool that fails, and the model again, traced by the SDK. Answers the trace id."""
    exporter = OTLPSpanExporter(f"{url}{PATH}", headers=dict(headers), compression=compression, timeout=30)
    provider = TracerProvider(resource=Resource.create({"service.name": "desk"}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_export_batch_size=batch))
    tracer = provider.get_tracer("test")
    model = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "test", "gen_ai.request.model": "small"}
    used = {"gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2}
    said = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "helper", "gen_ai.conversation.id": "talk-1"}
    with tracer.start_as_current_span("invoke_agent helper", attributes=said) as root:
        with tracer.start_as_current_span("chat small", kind=otel.SpanKind.CLIENT, attributes={**model, **used}):
            pass
        called = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "look_up"}
        with tracer.start_as_current_span("execute_tool look_up", attributes=called) as calling:
            calling.record_exception(TimeoutError("the shop did not answer, password=hunter2"))
            calling.set_attribute("error.type", "TimeoutError")
            calling.set_status(Status(StatusCode.ERROR))
        with tracer.start_as_current_span("GET /shop", kind=otel.SpanKind.CLIENT):
            pass
        with tracer.start_as_current_span("chat small", kind=otel.SpanKind.CLIENT, attributes={**model, **used}):
            pass
    provider.force_flush()
    provider.shutdown()
    return f"{root.get_span_context().trace_id:032x}"


@pytest.mark.parametrize("compression", list(Compression))
async def test_the_sdk_and_its_exporter_tell_a_run(
    served: httpx.AsyncClient, ada: Person, compression: Compression
) -> None:
    key, url = await key_of(served, ada), str(served.base_url).rstrip("/")
    traces = [await asyncio.to_thread(go_once, url, key, compression, batch) for batch in (1, 512)]
    runs = await runs_of(served, ada)
    assert sorted(run["source_run_id"] for run in runs) == sorted(traces)
    for run in runs:
        assert (run["agent"], run["status"], run["runtime"]) == ("helper", "completed", "desk")
        assert (run["input_tokens"], run["output_tokens"], run["model_steps"], run["unpriced_steps"]) == (20, 4, 2, 2)
        assert [step["name"] for step in run["steps"]] == ["chat small", "chat small"]
        (call,) = run["tool_calls"]
        assert (call["status"], call["error_class"]) == ("failed", "timeout")
        assert call["error_message"] == "the shop did not answer, password=[redacted]"
    assert len({run["thread_id"] for run in runs}) == 1


async def test_an_exporter_with_a_wrong_key_tells_nothing(served: httpx.AsyncClient, ada: Person) -> None:
    key = await key_of(served, ada)
    wrong = {"Authorization": key["Authorization"][:-4] + "AAAA"}
    url = str(served.base_url).rstrip("/")
    await asyncio.to_thread(go_once, url, wrong, Compression.NoCompression, 512)
    for headers in (wrong, {}, {"Authorization": "Basic YTpi"}):
        assert (await served.post(PATH, content=body([chat(2)]), headers={**headers, **PROTOBUF})).status_code == 401
    assert await runs_of(served, ada) == []


async def test_a_key_takes_the_scope_and_a_viewer_tells_nothing(
    client: httpx.AsyncClient, ada: Person, bob: Person, join: Join
) -> None:
    spans = body([chat(2)])
    other = await key_of(client, ada, "agent_run.read")
    assert (await client.post(PATH, content=spans, headers={**other, **PROTOBUF})).status_code == 403
    viewer = await join(ada, bob, "viewer")
    assert (await client.post(PATH, content=spans, headers={**viewer, **PROTOBUF})).status_code == 403
    assert await runs_of(client, ada) == []


async def test_keys_of_two_workspaces_tell_two_runs_of_one_trace(
    client: httpx.AsyncClient, ada: Person, bob: Person
) -> None:
    for person, pieces in ((ada, [chat(2), agent()]), (bob, [tool(3)])):
        key = await key_of(client, person)
        assert (await client.post(PATH, content=body(pieces), headers={**key, **PROTOBUF})).status_code == 200
    (mine,), (theirs,) = await runs_of(client, ada), await runs_of(client, bob)
    assert (mine["source_run_id"], theirs["source_run_id"]) == (TRACE, TRACE)
    assert (mine["status"], len(mine["steps"]), len(mine["tool_calls"])) == ("completed", 1, 0)
    assert (theirs["status"], len(theirs["steps"]), len(theirs["tool_calls"])) == ("running", 0, 1)


def as_json(*spans: dict[str, Any]) -> dict[str, Any]:
    service = {"key": "service.name", "value": {"stringValue": "desk"}}
    return {"resourceSpans": [{"resource": {"attributes": [service]}, "scopeSpans": [{"spans": list(spans)}]}]}


def a_span(**said: Any) -> dict[str, Any]:
    return {
        "traceId": TRACE.upper(),
        "spanId": "00f067aa0ba902b7",
        "name": "chat small",
        "startTimeUnixNano": "1772323200000000000",
        "endTimeUnixNano": 1772323201000000000,
        "attributes": [
            {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
            {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "7"}},
            {"key": "gen_ai.usage.output_tokens", "value": {"intValue": 3}},
        ],
        "aFieldOfTheTimeToCome": 1,
        **said,
    }


async def test_json_is_taken_and_answered_as_json(client: httpx.AsyncClient, ada: Person) -> None:
    for _ in range(2):
        answer = await client.post(PATH, json=as_json(a_span()), headers=ada.headers)
        assert (answer.status_code, answer.json()) == (200, {})
    (run,) = await runs_of(client, ada)
    assert (run["source_run_id"], run["input_tokens"], run["output_tokens"], run["agent"]) == (TRACE, 7, 3, "desk")


async def test_spans_that_are_rejected_are_counted_with_their_reasons(client: httpx.AsyncClient, ada: Person) -> None:
    spans = [
        a_span(),
        a_span(traceId="0" * 32),
        a_span(traceId="xyz"),
        a_span(spanId="00f067aa0ba902"),
        a_span(startTimeUnixNano="0"),
        a_span(endTimeUnixNano="1"),
        a_span(spanId="a" * 16, attributes=[{"key": "gen_ai.usage.input_tokens", "value": {"intValue": -1}}]),
        a_span(
            spanId="b" * 16,
            attributes=[
                {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
                {"key": "gen_ai.usage.input_tokens", "value": {"stringValue": "many"}},
                {"key": "gen_ai.conversation.id", "value": {"intValue": 5}},
            ],
        ),
    ]
    answer = await client.post(PATH, json=as_json(*spans), headers=ada.headers)
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "partialSuccess": {
                "rejectedSpans": "5",
                "errorMessage": "2 rejected: no time of its start, or an end before it; 1 rejected: no valid span id; "
                "2 rejected: no valid trace id; "
                "1 kept without a conversation id that is no text of up to 200 characters; "
                "1 kept without tokens that are no count",
            }
        },
    )
    (run,) = await runs_of(client, ada)
    assert len(run["steps"]) == 2


async def test_what_is_rejected_is_told_in_protobuf_too(client: httpx.AsyncClient, ada: Person) -> None:
    headers = {**ada.headers, **PROTOBUF}
    answer = await client.post(PATH, content=body([chat(2), replace(chat(3), end=0.5)]), headers=headers)
    told = ExportTraceServiceResponse.FromString(answer.content)
    assert answer.headers["content-type"] == "application/x-protobuf"
    assert told.partial_success.rejected_spans == 1
    assert told.partial_success.error_message == "1 rejected: no time of its start, or an end before it"
    answer = await client.post(PATH, content=body([chat(2)]), headers=headers)
    assert (answer.status_code, answer.content) == (200, b"")


HOSTILE: list[tuple[bytes, dict[str, str], int]] = [
    (b"\xff\xfe garbage", PROTOBUF, 400),
    (b"\x0a\xff\xff\xff\xff\x0f", PROTOBUF, 400),
    (b"{", JSON, 400),
    (b"[]", JSON, 400),
    (b'{"resourceSpans": 1}', JSON, 400),
    (b'{"resourceSpans": [1]}', JSON, 400),
    (b'{"resourceSpans": [{"scopeSpans": [{"spans": [null, {"attributes": 4}]}]}]}', JSON, 400),
    (b'{"a": ' + b"[" * 100_000, JSON, 400),
    (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "\\ud800"}]}]}]}', JSON, 400),
    (b"not gzip", {**PROTOBUF, "Content-Encoding": "gzip"}, 400),
    (gzip.compress(b"x" * 100)[:-9], {**PROTOBUF, "Content-Encoding": "gzip"}, 400),
    (gzip.compress(b"") + b"more", {**PROTOBUF, "Content-Encoding": "gzip"}, 400),
    (b"", {**PROTOBUF, "Content-Encoding": "br"}, 415),
    (b"", {**PROTOBUF, "Content-Encoding": "gzip, gzip"}, 415),
    (b"{}", {"Content-Type": "text/plain"}, 415),
    (b"{}", {}, 415),
    (b"", {**PROTOBUF, "Idempotency-Key": "one"}, 400),
    (b"", PROTOBUF, 200),
    (b"{}", {**JSON, "Idempotency-Key": "one"}, 200),
    (zlib.compress(b"{}"), {**JSON, "Content-Encoding": "deflate"}, 200),
    (gzip.compress(bytes(64 * 1024 * 1024)), {**PROTOBUF, "Content-Encoding": "gzip"}, 413),
    (bytes(17 * 1024 * 1024), PROTOBUF, 413),
    (bytes(51 * 1024 * 1024), PROTOBUF, 413),
    (body([chat(1)] * (MOST_SPANS + 1)), PROTOBUF, 413),
]


@pytest.mark.parametrize(("sent", "headers", "status"), HOSTILE, ids=range(len(HOSTILE)))
async def test_what_is_no_request_of_the_protocol_is_refused(
    client: httpx.AsyncClient, ada: Person, sent: bytes, headers: dict[str, str], status: int
) -> None:
    answer = await client.post(PATH, content=sent, headers={**ada.headers, **headers})
    assert answer.status_code == status, answer.text
    assert await runs_of(client, ada) == []


async def test_texts_that_cannot_be_stored_are_mended_or_left_out(client: httpx.AsyncClient, ada: Person) -> None:
    deep: Any = "the end"
    for _ in range(20):
        deep = {"in": deep}
    pieces = [
        replace(chat(2), name="a\0b", service="c\0d").saying(
            input__messages='["e\\u0000f"]', output__messages=f'"{"x" * 1024 * 1024}"'
        ),
        chat(3, start=2, model="bad\u202ename").saying(input__messages=deep, conversation__id="x" * 201),
        chat(4, start=3).saying(input__messages='{"api_key": "abc"}', output__messages="{not json password=abc"),
        tool(5).saying(tool__name="x" * 300, tool__call__arguments={"n": float("nan"), "b": b"\0", "i": 2**62}),
        replace(agent(), failed=True).saying(error__type="y" * 5_000),
    ]
    answer = await client.post(PATH, content=body(pieces), headers={**ada.headers, **PROTOBUF})
    assert answer.status_code == 200, answer.text
    (run,) = await runs_of(client, ada)
    first, second, third = run["steps"]
    assert (first["name"], run["status"]) == ("a\ufffdb", "failed")
    assert "NUL" in first["input"]["left_out"]
    assert "over the limit" in first["output"]["left_out"]
    assert second["model_version_id"] is None
    assert (third["input"], third["output"]) == ({"api_key": "[redacted]"}, "{not json password=[redacted]")
    (call,) = run["tool_calls"]
    assert (call["tool_name"], call["arguments"]) == ("x" * 64, {"n": "nan", "b": "AA==", "i": 2**62})


@pytest.mark.parametrize(("traces", "spans"), [(1, MOST_SPANS), (250, 2_000)])
async def test_very_many_spans_come_in_one_request(
    client: httpx.AsyncClient, ada: Person, traces: int, spans: int
) -> None:
    below = spans // traces - 1
    pieces = [
        replace(piece, trace=f"{number + 1:032x}")
        for number in range(traces)
        for piece in (agent(), *(tool(2 + each) if each % 3 else chat(2 + each) for each in range(below)))
    ]
    packed = gzip.compress(body(pieces), 1)
    headers = {**ada.headers, **PROTOBUF, "Content-Encoding": "gzip"}
    for _ in range(2):
        answer = await client.post(PATH, content=packed, headers=headers, timeout=120)
        assert (answer.status_code, answer.content) == (200, b""), answer.text
    page = (await client.get("/agents/runs/list?page_size=100", headers=ada.headers)).json()["data"]
    assert len(page) == min(traces, 100)
    chats = len([each for each in range(below) if each % 3 == 0])
    assert {(run["status"], run["model_steps"], run["input_tokens"]) for run in page} == {
        ("completed", chats, chats * 100)
    }
