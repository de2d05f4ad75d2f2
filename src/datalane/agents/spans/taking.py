"""From the body of a request to rows: read and told outside of a transaction, which then only writes.

Locks are taken in one order (models, threads, traces, each by name), so that two requests about the same things wait
for each other and do not stop each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from datalane.agents.permissions import RECORD_RUNS
from datalane.agents.runs.recording import DEPTH
from datalane.agents.safety.recording import record_span_refusals
from datalane.agents.spans.genai import Told, tell
from datalane.agents.spans.metrics import count_spans
from datalane.agents.spans.otlp import Encoding, Refused, Span, decompress, read
from datalane.agents.tools.policy import digest_arguments
from datalane.agents.versions.models import register_model
from datalane.agents.versions.schemas import NewAgentModel
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import InvalidInput, LimitExceeded
from datalane.kit.clock import utc_now
from datalane.kit.contents import CREDENTIALS, Redaction
from datalane.kit.jsonlimits import encode_within
from datalane.settings import Limits

PATIENCE = timedelta(hours=24)
"""How long a run waits for its root after the last span that was new. It is long, because a run that was given up stays
so, and an agent may work for hours before its own span ends."""
AHEAD = timedelta(days=2)
"""How far a clock may be ahead of ours: a run is kept from its end on, so that may not lie years away."""

_queries = load_queries(__file__)


@dataclass(frozen=True, slots=True)
class TraceOfRun:
    """Spans of one trace, as the database takes them, each with the model that it names, and what they tell of models
    that refused to answer."""

    trace_id: str
    spans: list[tuple[dict[str, Any], NewAgentModel | None]] = field(default_factory=list)
    refusals: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Batch:
    """A request that was read. `rejected` and `doubts` count reasons; `passed_over` are spans that tell of no agent."""

    traces: Mapping[str, TraceOfRun]
    rejected: Counter[str]
    doubts: Counter[str]
    passed_over: int

    @property
    def message(self) -> str:
        """What is to be told to who sent it; empty when all is well."""
        told = [f"{count} rejected: {reason}" for reason, count in sorted(self.rejected.items())]
        return "; ".join(told + [f"{count} kept without {doubt}" for doubt, count in sorted(self.doubts.items())])


def read_batch(
    body: bytes,
    encoding: Encoding,
    compressions: Sequence[str],
    limits: Limits,
    redaction: Redaction = CREDENTIALS,
    now: datetime | None = None,
) -> Batch:
    """What the body says. It takes the processor: call it in a thread.

    Raises `InvalidInput` for what is no request of the protocol, `LimitExceeded` for one that is too large.
    """
    batch = Batch({}, Counter(), Counter(), 0)
    traces, passed_over = dict[str, TraceOfRun](), 0
    latest = (now or utc_now()) + AHEAD
    for span in read(decompress(body, compressions, limits.spans), encoding):
        if isinstance(span, Refused):
            batch.rejected[span.reason] += 1
            continue
        if span.ended_at > latest:
            batch.rejected["an end in a time to come, by a clock that is wrong"] += 1
            continue
        told = tell(span, redaction)
        if told is None:
            passed_over += 1
            continue
        batch.doubts.update(told.doubts)
        trace = traces.setdefault(span.trace_id, TraceOfRun(span.trace_id))
        trace.spans.append((_row(span, told, limits.artifact, redaction), told.model))
        if told.refused is not None:
            trace.refusals.append(_refusal(span, told.refused))
    return Batch(traces, batch.rejected, batch.doubts, passed_over)


async def take_batch(tx: Transaction, batch: Batch, now: datetime | None = None) -> None:
    """Take the spans; those that are known change nothing. Models and threads that they name are made."""
    RECORD_RUNS.check(tx.context)
    models = await _models(tx, batch)
    await _queries.open_threads(tx.connection, external_ids=_conversations(batch), now=now)
    traces = list(batch.traces.values())
    kept = await _queries.take_spans(
        tx.connection,
        traces=[trace.trace_id for trace in traces],
        spans=[_encoded(trace, models) for trace in traces],
        scopes=None if tx.context.scopes is None else sorted(tx.context.scopes),
        patience=PATIENCE,
        now=now,
    )
    await record_span_refusals(tx, {trace.trace_id: trace.refusals for trace in traces if trace.refusals})
    came = sum(len(trace.spans) for trace in traces)
    tx.wake_workers()
    counts = {"kept": kept, "repeated": came - kept, "passed_over": batch.passed_over}
    tx.after_commit(lambda: count_spans({**counts, "rejected": batch.rejected.total()}))


def _encoded(trace: TraceOfRun, models: Mapping[tuple[str, str, str], UUID]) -> str:
    """The spans of a trace as JSON, with the versions of the models that they name."""
    return orjson.dumps(
        [
            span if model is None else {**span, "model_version_id": str(models[_key(model)])}
            for span, model in trace.spans
        ]
    ).decode()


async def _models(tx: Transaction, batch: Batch) -> dict[tuple[str, str, str], UUID]:
    """The versions of the models that are named, registered where they are not known."""
    named = {_key(model): model for trace in batch.traces.values() for _, model in trace.spans if model is not None}
    if not named:
        return {}
    providers, models, revisions = (list(each) for each in zip(*sorted(named), strict=True))
    rows = await _queries.find_models(
        tx.connection, workspace_id=tx.workspace_id, providers=providers, models=models, revisions=revisions
    )
    found = {(row["provider"], row["model"], row["revision"]): row["model_version_id"] for row in rows}
    for key in sorted(named.keys() - found.keys()):
        found[key] = (await register_model(tx.following(), named[key])).model_version_id
    return found


def _key(model: NewAgentModel) -> tuple[str, str, str]:
    return model.provider, model.model, model.revision


def _conversations(batch: Batch) -> list[str]:
    spans: Iterable[dict[str, Any]] = (span for trace in batch.traces.values() for span, _ in trace.spans)
    return sorted({span["conversation"] for span in spans if span.get("conversation") and span["kind"] != "other"})


def _refusal(span: Span, reason: str) -> dict[str, Any]:
    told = {"category": reason, "reason": "the model finished for this reason"}
    return {"span_id": span.span_id, "at": span.ended_at.isoformat(), **told}


def _row(span: Span, told: Told, most: int, redaction: Redaction) -> dict[str, Any]:
    """The span as `datalane.take_agent_spans` takes it, without what it does not say."""
    row = {
        "span_id": span.span_id,
        "parent_span_id": span.parent_id,
        "kind": told.kind,
        "step": told.step_in(span),
        "name": told.name,
        "agent": told.agent,
        "service": told.service,
        "conversation": told.conversation,
        "error_class": told.error_class,
        "error_message": told.error_message,
        "started_at": span.started_at.isoformat(),
        "ended_at": span.ended_at.isoformat(),
        **asdict(told.usage),
    }
    given, answered = _opened(told.given), _opened(told.answered)
    if told.kind == "tool":
        row |= {
            "tool": told.name,
            "arguments": _kept(given, most, redaction),
            "arguments_digest": _digest(given),
            "result": _kept(answered, most, redaction),
            "reason": f"the model asked for it as {told.call_id}" if told.call_id else None,
        }
    else:
        row |= {"input": _kept(given, most, redaction), "output": _kept(answered, most, redaction)}
    return {name: value for name, value in row.items() if value is not None}


def _opened(value: Any) -> Any:
    """Attributes hold JSON as text: opened it is, so that what is secret in it is known by its name."""
    if not isinstance(value, str) or value[:1] not in '[{"':
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def _kept(value: Any, most: int, redaction: Redaction) -> orjson.Fragment | None:
    """As JSON, redacted; what is too large is left out, and says so."""
    if value is None:
        return None
    try:
        return orjson.Fragment(encode_within(redaction.value(value), "it", most, DEPTH))
    except (LimitExceeded, InvalidInput) as error:
        return orjson.Fragment(orjson.dumps({"left_out": str(error)}))


def _digest(arguments: Any) -> str:
    try:
        return digest_arguments(arguments).hex()
    except (orjson.JSONEncodeError, RecursionError):
        return digest_arguments(str(arguments)).hex()
