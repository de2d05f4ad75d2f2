"""Moderations of agents as callers see them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel

from datalane.agents.safety.moderator import Outcome, Subject


class AgentModeration(BaseModel):
    """A judgement. `judged_by` is the name and the version of the moderator, or `agent` where the model refused by
    itself. `citation_ids` are those that it suppressed, or that were suppressed already. `failed` is a judgement that
    did not come."""

    moderation_id: UUID
    run_id: UUID
    tool_call_id: UUID | None
    subject: Subject
    outcome: Outcome
    category: str | None
    reason: str | None
    judged_by: str
    citation_ids: list[UUID]
    at: datetime


class AgentModerationPage(BaseModel):
    data: list[AgentModeration]
    page_size: int
    next_cursor: str | None
