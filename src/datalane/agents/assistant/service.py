"""The assistant: a question becomes a run, in the request or by a job, whose answer is stored with its evidence."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from datalane.agents.assistant import built_in
from datalane.agents.assistant.answering import Draft, store
from datalane.agents.assistant.built_in import draft_by_extraction
from datalane.agents.assistant.chat import Chat
from datalane.agents.assistant.modelled import draft_by_model
from datalane.agents.assistant.schemas import OUTPUT_NAME, OUTPUT_SCHEMA, AssistantAnswer, Question
from datalane.agents.permissions import RECORD_RUNS
from datalane.agents.recorder import AgentFault, Agents, ApprovalNeeded, RecordedRun
from datalane.agents.recorder.toolbox import Toolbox
from datalane.agents.runs.queueing import ASSISTANT
from datalane.agents.safety.judging import Safety
from datalane.agents.versions.models import register_model
from datalane.agents.versions.output_schemas import register_output_schema
from datalane.agents.versions.schemas import NewAgentModel, NewOutputSchema
from datalane.contracts.context import Context, Role
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.meters import Meters
from datalane.engine.tools import Tools
from datalane.errors import NotFound

Door = Callable[[Context], AbstractAsyncContextManager[Transaction]]
_ROLES = {1: Role.VIEWER, 2: Role.MEMBER, 3: Role.ADMIN, 4: Role.OWNER}

_queries = load_queries(__file__)


@dataclass(frozen=True, slots=True)
class Assistant:
    """`chat` leads it where there is one, else it answers by extraction."""

    tools: Tools
    meters: Meters
    chat: Chat | None = None
    safety: Safety = field(default_factory=Safety)

    async def ask(self, door: Door, context: Context, asked: Question) -> AssistantAnswer:
        """Answer now, as whoever asks.

        Raises `Conflict` for a `source_run_id` that is known, `ToolBlocked` where a tool is not published or not
        allowed, `BudgetExceeded`, `AssistantUnavailable`, and `ContentRefused` or `ModerationUnavailable` for what
        moderation does not let pass.
        """
        versions = await self.register_versions(door, context)
        said: dict[str, Any] = {"input": {"question": asked.question}, "max_attempts": 1, **versions}
        said |= asked.model_dump(include={"thread_id", "source_run_id"})
        agents = self._agents(door)
        async with _escalating() as waiting, agents.run(context, ASSISTANT, **said) as run:
            waiting.run_id = run.run_id
            return await self.answer(run, asked.question, versions["model_version_id"])
        return waiting.told()

    async def take(self, door: Door, context: Context, run_id: UUID) -> None:
        """Take a queued run up, with the role and the scopes of whoever asked for it.

        Raises as `Agents.take`, and what the run failed with.
        """
        async with door(context) as tx:
            row = await _queries.get_queued(tx.connection, workspace_id=tx.workspace_id, run_id=run_id)
        if row is None or row["agent"] != ASSISTANT:
            raise NotFound("no such run of the assistant")
        acting = replace(
            context,
            actor_id=row["actor_id"],
            role=_ROLES[row["actor_rank"]],
            scopes=None if row["scopes"] is None else frozenset(row["scopes"]),
        )
        versions = await self.register_versions(door, acting)
        async with _escalating(), self._agents(door).take(acting, run_id, ASSISTANT) as run:
            await self.answer(run, question_of(row["input"]), versions["model_version_id"])

    async def register_model(self, tx: Transaction) -> UUID:
        """The version of the model that leads it, or of extraction: what a price can be set for."""
        return (await register_model(tx, self._model())).model_version_id

    def _agents(self, door: Door) -> Agents:
        return Agents(door, Toolbox(self.tools), self.meters, self.safety)

    async def answer(self, run: RecordedRun, question: str, model_version_id: UUID) -> AssistantAnswer:
        """Answer in a run that goes on. Raises as `ask`, and `ApprovalNeeded`."""
        return await store(run, question, await self._draft(run, question, model_version_id))

    async def _draft(self, run: RecordedRun, question: str, model_version_id: UUID) -> Draft:
        if self.chat is None:
            return await draft_by_extraction(run, question, model_version_id)
        return await draft_by_model(run, self.chat, self.tools, question, model_version_id)

    async def register_versions(self, door: Door, context: Context) -> dict[str, UUID]:
        """The versions that a run names, made at the first one of the workspace."""
        async with door(context) as tx:
            RECORD_RUNS.check(tx.context)
            following = tx.following()
            model_version_id = await self.register_model(following)
            schema = NewOutputSchema(name=OUTPUT_NAME, json_schema=OUTPUT_SCHEMA)
            output = await register_output_schema(following, schema)
        return {
            "model_version_id": model_version_id,
            "output_schema_version_id": output.output_schema_version_id,
        }

    def _model(self) -> NewAgentModel:
        if self.chat is None:
            return NewAgentModel(provider=built_in.PROVIDER, model=built_in.MODEL, revision=built_in.REVISION)
        assistant = self.chat.assistant
        return NewAgentModel(provider=assistant.provider, model=assistant.model or "", revision=assistant.revision)


class _Waiting:
    run_id: UUID
    call_id: UUID

    def told(self) -> AssistantAnswer:
        return AssistantAnswer(
            run_id=self.run_id,
            status="escalated_human",
            text="A person is asked before this is done.",
            sentences=[],
            response_id=None,
            item_ids=[],
            waiting_call_id=self.call_id,
        )


@asynccontextmanager
async def _escalating() -> AsyncIterator[_Waiting]:
    """A run that waits for a person has ended, and nothing went wrong."""
    waiting = _Waiting()
    try:
        yield waiting
    except ApprovalNeeded as asked:
        waiting.call_id = asked.tool_call_id


def question_of(given: Any) -> str:
    """What a run was given: a question, alone or as a member of this name. Raises `AgentFault` for anything else."""
    question = given.get("question") if isinstance(given, Mapping) else given
    if not isinstance(question, str) or not question.strip() or len(question) > 8_000:
        raise AgentFault("validation_error", "the input of the run holds no question")
    return question
