"""Spans as tests tell them: plain values, the protocol's bytes of them, and a place that takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from datalane.agents.runs import looking
from datalane.agents.runs.schemas import AgentRunTrace
from datalane.agents.spans.taking import Batch, read_batch, take_batch
from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.kit.contents import CREDENTIALS, Redaction
from datalane.settings import Limits

BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
TRACE = "0af7651916cd43dd8448eb211c80319c"
AGENT, CHAT, TOOL, EMBED = "invoke_agent", "chat", "execute_tool", "embeddings"


@dataclass(frozen=True)
class Piece:
    """A span: its number is its id, times are seconds since `BEGAN`."""

    number: int
    operation: str | None = CHAT
    parent: int | None = 1
    start: float = 0.0
    end: float = 1.0
    name: str = "a span"
    trace: str = TRACE
    failed: bool = False
    service: str = "desk"
    said: Mapping[str, Any] = field(default_factory=dict)

    @property
    def attributes(self) -> dict[str, Any]:
        operation = {} if self.operation is None else {"gen_ai.operation.name": self.operation}
        return {**operation, **self.said}

    def saying(self, **said: Any) -> Piece:
        """`usage__input_tokens` is the attribute `gen_ai.usage.input_tokens`."""
        return replace(self, said={**self.said, **{f"gen_ai.{n.replace('__', '.')}": v for n, v in said.items()}})


def agent(number: int = 1, parent: int | None = None, name: str = "helper", **said: Any) -> Piece:
    return Piece(number, AGENT, parent, 0, 100, f"invoke_agent {name}", **said).saying(agent__name=name)


def chat(number: int, start: float = 1.0, tokens: tuple[Any, Any] = (100, 10), model: str = "small") -> Piece:
    piece = Piece(number, CHAT, 1, start, start + 1, f"chat {model}")
    return piece.saying(
        provider__name="test", request__model=model, usage__input_tokens=tokens[0], usage__output_tokens=tokens[1]
    )


def tool(number: int, start: float = 3.0, name: str = "look_up", failed: bool = False) -> Piece:
    piece = Piece(number, TOOL, 1, start, start + 1, f"execute_tool {name}", failed=failed)
    return piece.saying(tool__name=name, tool__call__arguments='{"order": "A-1"}', tool__call__result="on its way")


def request(pieces: Sequence[Piece]) -> ExportTraceServiceRequest:
    made = ExportTraceServiceRequest()
    for piece in pieces:
        resource = made.resource_spans.add()
        if piece.service:
            resource.resource.attributes.append(KeyValue(key="service.name", value=value_of(piece.service)))
        span = resource.scope_spans.add().spans.add()
        span.trace_id, span.span_id = bytes.fromhex(piece.trace), piece.number.to_bytes(8, "big")
        if piece.parent is not None:
            span.parent_span_id = piece.parent.to_bytes(8, "big")
        span.name = piece.name
        span.start_time_unix_nano, span.end_time_unix_nano = nanoseconds(piece.start), nanoseconds(piece.end)
        if piece.failed:
            span.status.code, span.status.message = 2, "it broke"
        span.attributes.extend(KeyValue(key=key, value=value_of(value)) for key, value in piece.attributes.items())
    return made


def body(pieces: Sequence[Piece]) -> bytes:
    return bytes(request(pieces).SerializeToString())


def nanoseconds(seconds: float) -> int:
    return (BEGAN + timedelta(seconds=seconds) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1_000


def value_of(value: Any) -> AnyValue:
    made = AnyValue()
    if isinstance(value, bool):
        made.bool_value = value
    elif isinstance(value, int):
        made.int_value = value
    elif isinstance(value, float):
        made.double_value = value
    elif isinstance(value, str):
        made.string_value = value
    elif isinstance(value, bytes):
        made.bytes_value = value
    elif isinstance(value, Mapping):
        made.kvlist_value.values.extend(KeyValue(key=key, value=value_of(each)) for key, each in value.items())
    else:
        made.array_value.values.extend(value_of(each) for each in value)
    return made


@dataclass
class Receiver:
    """Takes spans as `context`, each time in a transaction of its own."""

    database: Database
    context: Context
    redaction: Redaction = CREDENTIALS

    async def take(self, *pieces: Piece, now: datetime | None = None) -> Batch:
        batch = read_batch(body(pieces), "protobuf", (), Limits(), self.redaction)
        async with self.database.transaction(self.context) as tx:
            await take_batch(tx, batch, now)
        return batch

    async def runs(self) -> list[AgentRunTrace]:
        async with self.database.transaction(self.context) as tx:
            page = await looking.list_runs(tx, looking.RunFilter())
            return [await looking.get_run(tx, run.run_id) for run in page.data]

    async def run(self, trace: str = TRACE) -> AgentRunTrace:
        (found,) = [run for run in await self.runs() if run.source_run_id == trace]
        return found

    async def threads(self) -> dict[UUID, str | None]:
        async with self.database.transaction(self.context) as tx:
            return {each.thread_id: each.external_id for each in (await looking.list_threads(tx)).data}
