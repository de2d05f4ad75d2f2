"""The route of the assistant."""

from __future__ import annotations

from fastapi import APIRouter

from datalane.agents.assistant.schemas import AssistantAnswer, Question
from datalane.agents.assistant.service import Assistant
from datalane.agents.permissions import RECORD_RUNS
from datalane.contracts.http import Door, LateTransaction


def add_assistant_routes(routes: APIRouter, door: Door, assistant: Assistant) -> None:
    @routes.post("/assistant/ask")
    async def ask(body: Question, late: LateTransaction = door.preparer(RECORD_RUNS)) -> AssistantAnswer:
        """Ask a question, which is answered from the documents with evidence, or for an item to be made."""
        answer = await assistant.ask(door.transaction, late.context, body)
        await late.begin()
        return answer
