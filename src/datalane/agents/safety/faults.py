"""Why something does not go on."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from datalane.agents.runs.schemas import ErrorClass
from datalane.agents.safety.moderator import Subject
from datalane.errors import DatalaneError, Forbidden


class ContentRefused(Forbidden):
    """Moderation refused an input, an output or a result: it is not stored and not handed on."""

    code: ClassVar[str] = "content_refused"
    error_class: ErrorClass = "policy_denied"

    def __init__(self, message: str, subject: Subject, category: str, run_id: UUID | None) -> None:
        super().__init__(message, denial="moderation", target=f"agent_{subject}")
        self.subject: Subject = subject
        self.category = category
        self.run_id = run_id


class ModerationUnavailable(DatalaneError):
    """Moderation raised, said nonsense or took too long: what it was to judge counts as refused."""

    code: ClassVar[str] = "moderation_unavailable"
    status: ClassVar[int] = 503
    is_told: ClassVar[bool] = True
    error_class: ErrorClass = "dependency_unavailable"

    def __init__(self, message: str, subject: Subject, run_id: UUID | None) -> None:
        super().__init__(message)
        self.subject: Subject = subject
        self.run_id = run_id
