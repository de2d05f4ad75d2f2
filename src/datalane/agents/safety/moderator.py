"""What judges contents of agents, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Protocol, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from datalane.contracts.context import Context
from datalane.contracts.storable import Text

Subject = Literal["input", "output", "arguments", "result"]
Outcome = Literal["allowed", "flagged", "refused", "failed"]
"""`failed` is a judgement that did not come; what was to be judged counts as refused."""
Category = Annotated[Text, Field(min_length=1, max_length=100)]
Reason = Annotated[Text, Field(max_length=500)]
USUAL_SUBJECTS: Final = frozenset[Subject]({"input", "output"})
AGENT: Final = "agent"
"""Who judged where a model itself refused to answer."""


@dataclass(frozen=True, slots=True)
class About:
    """Whose content it is. `run_id` is None before the run begins, `agent` where only its runtime knows it; `tool_name`
    is that of a call."""

    workspace_id: UUID
    actor_id: UUID
    correlation_id: str
    run_id: UUID | None = None
    agent: str | None = None
    tool_name: str | None = None

    @classmethod
    def of(cls, context: Context, **said: Any) -> Self:
        return cls(context.workspace_id, context.actor_id, context.correlation_id, **said)


class Verdict(BaseModel):
    """What a moderator says. `flagged` is recorded and goes on, `refused` does not go on; both say a `category`. The
    `reason` says why without saying what was judged. `citation_ids` are citations of an output, which are to be shown
    no more. Raises `ValidationError` for what cannot be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    outcome: Literal["allowed", "flagged", "refused"]
    category: Category | None = None
    reason: Reason | None = None
    citation_ids: Annotated[tuple[UUID, ...], Field(max_length=1_000)] = ()

    @model_validator(mode="after")
    def _what_is_not_allowed_says_why(self) -> Self:
        if self.outcome != "allowed" and self.category is None:
            raise ValueError("what is flagged or refused has a category")
        if self.outcome == "allowed" and self.citation_ids:
            raise ValueError("citations are suppressed by what is flagged or refused")
        return self


class Moderator(Protocol):
    """Judges contents: `name` and `version` say on record who did. With an attribute `subjects` it says which ones it
    wants to see; by default inputs and outputs of runs.

    It sees contents as they are, before anything is redacted, and leaves them as they are. It runs in the event loop:
    what blocks that is bounded by nothing.
    """

    name: str
    version: str

    async def judge(self, subject: Subject, content: Any, about: About) -> Verdict:
        """An error of any kind refuses the content, and the run fails."""
        ...
