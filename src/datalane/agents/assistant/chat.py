"""A model behind an endpoint that speaks OpenAI's protocol (`POST …/chat/completions`, "Create chat completion").

What comes back is believed only as far as it can be checked: a bounded body within a bounded time, JSON without
surprises, the shape of the protocol. What it wants called is for the policy to decide.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from datalane.agents.recorder.faults import AgentFault
from datalane.agents.runs.schemas import ErrorClass
from datalane.errors import InvalidInput
from datalane.kit.lookups import LookupBusy
from datalane.kit.outbound import Answer, FetchFailed, FetchRefused, Outbound, Session
from datalane.kit.strict_json import parse_json
from datalane.settings import AssistantSettings

MOST_BYTES = 1024 * 1024
MOST_CALLS = 8
"""Of tools in one message."""
_EXCERPT = 200
_ANYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))
"""The operator names the endpoint, which may stand on a network of their own."""

Message = Mapping[str, Any]
Tokens = Annotated[int, Field(ge=0, le=2**53, strict=True)]


class AssistantUnavailable(AgentFault):
    """The model did not give what was asked for."""

    code = "assistant_unavailable"
    status = 502
    is_told = True


class _Function(BaseModel):
    name: Annotated[str, Field(max_length=200)]
    arguments: Annotated[str, Field(max_length=200_000)]


class _ToolCall(BaseModel):
    id: Annotated[str, Field(min_length=1, max_length=200)]
    function: _Function


class _Told(BaseModel):
    content: str | None = None
    refusal: str | None = None
    tool_calls: Annotated[list[_ToolCall], Field(max_length=MOST_CALLS)] | None = None


class _Choice(BaseModel):
    message: _Told
    finish_reason: Annotated[str, Field(max_length=100)] | None = None


class _Completion(BaseModel):
    model_config = ConfigDict(extra="ignore")

    choices: Annotated[list[_Choice], Field(min_length=1, max_length=16)]


class _Details(BaseModel):
    cached_tokens: Tokens | None = None
    reasoning_tokens: Tokens | None = None


class _Usage(BaseModel):
    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A call of a tool that the model asks for; `arguments` are as it wrote them."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model said: a text, or what it wants called. `used` are the counts that it told, as steps take them.
    `refused` says how it refused to answer; then `text` is what it said instead, if anything, and nothing is called."""

    text: str
    calls: Sequence[Wanted]
    used: Mapping[str, int | None]
    refused: Literal["refusal", "content_filter"] | None = None

    def as_message(self) -> Message:
        if self.refused is not None:
            return {"role": "assistant", "content": None, "refusal": self.text or self.refused}
        calls = [
            {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in self.calls
        ]
        return {"role": "assistant", "content": self.text or None, **({"tool_calls": calls} if calls else {})}


class Chat:
    """One model behind one endpoint."""

    def __init__(self, settings: AssistantSettings) -> None:
        self.assistant = settings
        self._outbound = Outbound(_ANYWHERE)

    @asynccontextmanager
    async def open(self, workspace_id: UUID) -> AsyncIterator[Conversation]:
        """A connection for the requests of one run."""
        async with self._outbound.session() as session:
            yield Conversation(self.assistant, session, workspace_id)


class Conversation:
    def __init__(self, settings: AssistantSettings, session: Session, workspace_id: UUID) -> None:
        self._assistant = settings
        self._url = (self._assistant.base_url or "").rstrip("/") + "/chat/completions"
        self._session = session
        self._workspace_id = workspace_id

    def expects_tokens(self, messages: Sequence[Message]) -> int:
        """About what the next answer uses: three bytes a token of what is sent, and the longest answer."""
        return len(orjson.dumps(messages)) // 3 + self._assistant.answer_tokens

    async def ask(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> Reply:
        """The next message. Raises `AssistantUnavailable` with the error class: `timeout`, `dependency_unavailable`
        for an endpoint that is not reached, `provider_error` for any answer but the one that was wanted."""
        said = {
            "model": self._assistant.model,
            "messages": messages,
            "tools": tools,
            "max_tokens": self._assistant.answer_tokens,
            "temperature": 0,
        }
        key = self._assistant.api_key
        headers = {"content-type": "application/json"}
        if key is not None:
            headers["authorization"] = f"Bearer {key.get_secret_value()}"
        try:
            answer = await self._session.send(
                "POST",
                self._url,
                headers,
                orjson.dumps(said),
                self._assistant.timeout,
                MOST_BYTES,
                self._workspace_id,
            )
        except FetchFailed as error:
            failed: ErrorClass = "timeout" if error.reason == "timeout" else "dependency_unavailable"
            raise AssistantUnavailable(failed, f"the model: {error}") from None
        except (FetchRefused, LookupBusy) as error:
            raise AssistantUnavailable("dependency_unavailable", f"the model: {error}") from None
        return self._read(answer)

    def _read(self, answer: Answer) -> Reply:
        if answer.status != 200:
            raise self._unusable(f"it answered {answer.status}: {self._excerpt(answer.body_excerpt)}")
        if answer.truncated:
            raise self._unusable(f"its answer has more than {MOST_BYTES:,} bytes")
        try:
            body = parse_json(answer.body_excerpt, name="its answer")
            choice = _Completion.model_validate(body).choices[0]
        except InvalidInput as error:
            raise self._unusable(str(error)) from None
        except ValidationError as error:
            place = ".".join(str(part) for part in error.errors(include_input=False, include_context=False)[0]["loc"])
            raise self._unusable(f"its answer is not that of the protocol ({place[:100]})") from None
        told, used = choice.message, _read_usage(body.get("usage"))
        if choice.finish_reason == "content_filter":  # what it began to say was cut off
            return Reply("", (), used, "content_filter")
        if told.refusal:
            return Reply(_plain(told.refusal).strip(), (), used, "refusal")
        calls = [
            Wanted(_plain(call.id), _plain(call.function.name), call.function.arguments)
            for call in told.tool_calls or ()
        ]
        text = _plain(told.content or "").strip()
        if not text and not calls:
            raise self._unusable("it said nothing")
        return Reply(text, calls, used)

    def _excerpt(self, body: bytes) -> str:
        text, key = body.decode("utf-8", "replace"), self._assistant.api_key
        if key is not None:
            text = text.replace(key.get_secret_value(), "***")
        return " ".join(text.split())[:_EXCERPT]

    def _unusable(self, why: str) -> AssistantUnavailable:
        return AssistantUnavailable("provider_error", f"the model: {why}")


def _read_usage(said: Any) -> dict[str, int | None]:
    """Counts that cannot be are not known."""
    try:
        usage = _Usage.model_validate(said or {})
    except ValidationError:
        usage = _Usage()
    cached = (usage.prompt_tokens_details or _Details()).cached_tokens
    reasoning = (usage.completion_tokens_details or _Details()).reasoning_tokens
    return {
        "input_tokens": usage.prompt_tokens,
        "cached_input_tokens": _part(cached, usage.prompt_tokens),
        "output_tokens": usage.completion_tokens,
        "reasoning_tokens": _part(reasoning, usage.completion_tokens),
    }


def _part(part: int | None, whole: int | None) -> int | None:
    return part if part is not None and whole is not None and part <= whole else None


def _plain(text: str) -> str:
    """Without what the database cannot hold."""
    return text.replace("\x00", " ")
