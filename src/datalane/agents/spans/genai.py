"""What a span says of a run, by the OpenTelemetry semantic conventions for generative AI and the older names of them.

Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/ (1.38 and later). Each span is read by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from datalane.agents.runs.schemas import ErrorClass
from datalane.agents.spans.faults import error_class_of
from datalane.agents.spans.otlp import Span
from datalane.agents.versions.schemas import NewAgentModel
from datalane.kit.contents import CREDENTIALS, Redaction

Kind = Literal["agent", "model", "retrieval", "custom", "tool", "other"]
OPERATIONS: Mapping[str, Kind] = {
    "chat": "model",
    "text_completion": "model",
    "generate_content": "model",
    "embeddings": "retrieval",
    "retrieval": "retrieval",
    "execute_tool": "tool",
    "invoke_agent": "agent",
    "invoke_workflow": "agent",
}
"""Of any other operation the span is a step of its own (`custom`)."""
MOST_TOKENS = 2**53
REFUSALS = frozenset({"content_filter", "refusal"})
"""Reasons for which a model finishes when it refuses to answer, or is kept from it."""

_INPUT_TOKENS = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
_OUTPUT_TOKENS = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
_CACHED_TOKENS = (
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
    "gen_ai.usage.details.cache_read_tokens",
)
_REASONING_TOKENS = (
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.reasoning_tokens",
    "gen_ai.usage.details.reasoning_tokens",
)
_ARGUMENTS = ("gen_ai.tool.call.arguments", "tool_arguments")
_CONTENTS: Mapping[Kind, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "agent": (
        ("gen_ai.input.messages", "gen_ai.prompt"),
        ("gen_ai.output.messages", "gen_ai.completion", "final_result"),
    ),
    "model": (("gen_ai.input.messages", "gen_ai.prompt"), ("gen_ai.output.messages", "gen_ai.completion")),
    "retrieval": (
        ("gen_ai.retrieval.query.text", "gen_ai.input.messages"),
        ("gen_ai.retrieval.documents", "gen_ai.output.messages"),
    ),
    "custom": (("gen_ai.input.messages",), ("gen_ai.output.messages",)),
    "tool": (_ARGUMENTS, ("gen_ai.tool.call.result", "tool_response")),
    "other": ((), ()),
}
"""Under which names a span says what went in and what came out, the first one that it has."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the ledger counts them; None is not known."""

    input_tokens: int | None = None
    cached_input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What a span says. `given` and `answered` are as they came; `refused` is the reason for which a model
    finished when it refused to answer; `doubts` are what the span says that cannot be so."""

    kind: Kind
    name: str
    agent: str | None
    service: str
    conversation: str | None
    error_class: ErrorClass | None
    error_message: str | None
    model: NewAgentModel | None
    usage: Usage
    call_id: str | None
    given: Any
    answered: Any
    refused: str | None
    doubts: tuple[str, ...]

    def step_in(self, span: Span) -> Kind | None:
        """As which kind of step the span counts. An agent within another one is a step of its own; the root is the
        run."""
        if self.kind in ("model", "retrieval", "custom"):
            return self.kind
        return "custom" if self.kind == "agent" and span.parent_id is not None else None


def tell(span: Span, redaction: Redaction = CREDENTIALS) -> Told | None:
    """What the span says of a run; None where that is nothing. A root says at least when the run began and ended."""
    kind = _kind(span.attributes)
    if kind == "other" and span.parent_id is not None:
        return None
    said, doubts = span.attributes, list[str]()
    is_call_of_model = kind in ("model", "retrieval")
    error_class, error_message = _failure(span, kind, redaction)
    given, answered = (_first(said, names) for names in _CONTENTS[kind])
    return Told(
        kind=kind,
        name=_name(span, kind),
        agent=_short(said.get("gen_ai.agent.name"))
        or _short(said.get("gen_ai.workflow.name"))
        or _agent_in(span, kind),
        service=_short(span.service) or (_short(span.name) if span.parent_id is None else None) or "unknown",
        conversation=_conversation(said, doubts),
        error_class=error_class,
        error_message=error_message,
        model=_model(said, doubts) if is_call_of_model else None,
        usage=_usage(said, kind, doubts) if is_call_of_model else Usage(),
        call_id=_short(said.get("gen_ai.tool.call.id")),
        given=given,
        answered=answered,
        refused=_refusal(said) if kind == "model" else None,
        doubts=tuple(doubts),
    )


def _kind(said: Mapping[str, Any]) -> Kind:
    """Older instrumentations name no operation; then what they tell of shows it."""
    operation = said.get("gen_ai.operation.name")
    if isinstance(operation, str) and operation:
        return OPERATIONS.get(operation, "custom")
    if "gen_ai.tool.name" in said:
        return "tool"
    if "gen_ai.request.model" in said or "gen_ai.response.model" in said:
        return "model"
    return "agent" if "gen_ai.agent.name" in said else "other"


def _name(span: Span, kind: Kind) -> str:
    if kind == "tool":
        tool = _short(span.attributes.get("gen_ai.tool.name")) or _short(span.name.removeprefix("execute_tool "))
        return (tool or "unknown")[:64]
    return _short(span.name) or kind


def _agent_in(span: Span, kind: Kind) -> str | None:
    return _short(span.name.removeprefix("invoke_agent ").removeprefix("invoke_workflow ")) if kind == "agent" else None


def _refusal(said: Mapping[str, Any]) -> str | None:
    """The first of its finish reasons that says so."""
    reasons = said.get("gen_ai.response.finish_reasons")
    told = reasons if isinstance(reasons, list) else [reasons]
    return next((each.lower() for each in told if isinstance(each, str) and each.lower() in REFUSALS), None)


def _failure(span: Span, kind: Kind, redaction: Redaction) -> tuple[ErrorClass | None, str | None]:
    error = span.attributes.get("error.type")
    said = str(error) if isinstance(error, str | int) else ""
    if not span.is_failed and not said:
        return None, None
    message = span.message or span.exception or said
    return error_class_of(said or span.exception, kind in ("model", "retrieval")), redaction.text(message)[
        :2_000
    ] or None


def _conversation(said: Mapping[str, Any], doubts: list[str]) -> str | None:
    conversation = said.get("gen_ai.conversation.id")
    if conversation is None or conversation == "":
        return None
    if isinstance(conversation, str) and len(conversation) <= 200:
        return conversation
    doubts.append("a conversation id that is no text of up to 200 characters")
    return None


def _model(said: Mapping[str, Any], doubts: list[str]) -> NewAgentModel | None:
    """What was asked for is the model; what answered, where that is another name, is its revision."""
    asked: Any = said.get("gen_ai.request.model")
    answered: Any = said.get("gen_ai.response.model")
    provider: Any = said.get("gen_ai.provider.name") or said.get("gen_ai.system") or "unknown"
    if not asked and not answered:
        return None
    revision = answered if asked and answered and answered != asked else ""
    try:
        return NewAgentModel(provider=provider, model=asked or answered, revision=revision)
    except ValidationError:
        doubts.append("a provider or model that is no name")
        return None


def _usage(said: Mapping[str, Any], kind: Kind, doubts: list[str]) -> Usage:
    counted = {
        name: _count(_first(said, names), doubts)
        for name, names in (("in", _INPUT_TOKENS), ("cached", _CACHED_TOKENS), ("out", _OUTPUT_TOKENS))
    }
    reasoning = _count(_first(said, _REASONING_TOKENS), doubts)
    output = counted["out"]
    if said.get("gen_ai.operation.name") == "embeddings" and output is None:
        output = 0  # an embedding is no output of tokens
    whole_in, cached = _whole_and_part(counted["in"], counted["cached"], doubts)
    whole_out, reasoning = _whole_and_part(output, reasoning, doubts)
    return Usage(whole_in, cached, whole_out, reasoning)


def _count(value: Any, doubts: list[str]) -> int | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS:
        return value
    doubts.append("tokens that are no count")
    return None


def _whole_and_part(whole: int | None, part: int | None, doubts: list[str]) -> tuple[int | None, int | None]:
    """Where a part is more than its whole, they were counted in another way, and neither is known."""
    if part is None or whole is None:
        return whole, None
    if part <= whole:
        return whole, part
    doubts.append("a part of tokens that is more than the whole")
    return None, None


def _first(said: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((said[name] for name in names if said.get(name) is not None), None)


def _short(value: Any) -> str | None:
    """The first 200 characters of a text that is not blank."""
    return (value.strip()[:200] or None) if isinstance(value, str) else None
