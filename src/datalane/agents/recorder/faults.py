"""Error classes of the ledger, as told from exceptions."""

from __future__ import annotations

import asyncio
import re
from typing import ClassVar
from uuid import UUID

import httpx
from pydantic import ValidationError

from datalane.agents.runs.schemas import ErrorClass
from datalane.errors import (
    Conflict,
    DatabaseUnavailable,
    DatalaneError,
    Forbidden,
    InvalidInput,
    LimitExceeded,
    Unauthenticated,
)

RETRYABLE: frozenset[ErrorClass] = frozenset({"timeout", "provider_error", "dependency_unavailable"})
"""What may go away by itself."""
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""NUL and halves of characters, which no text in the database holds."""


class AgentFault(DatalaneError):
    """What an agent or a tool raises to say of which class its failure is."""

    code = "agent_fault"

    def __init__(self, error_class: ErrorClass, message: str) -> None:
        super().__init__(message)
        self.error_class: ErrorClass = error_class


class ToolBlocked(Forbidden):
    """The policy does not allow the call: `rule_id` and `rule_version` say what decided."""

    code: ClassVar[str] = "tool_blocked"

    def __init__(
        self, message: str, error_class: ErrorClass, tool_call_id: UUID, rule_id: str, rule_version: int
    ) -> None:
        super().__init__(message, denial="policy", target=rule_id)
        self.error_class: ErrorClass = error_class
        self.tool_call_id = tool_call_id
        self.rule_id = rule_id
        self.rule_version = rule_version


class BudgetExceeded(Forbidden):
    """A budget of the workspace is used up, or what is expected would pass it. Nothing was called."""

    code: ClassVar[str] = "budget_exceeded"
    error_class: ErrorClass = "policy_denied"

    def __init__(self, reason: str, run_id: UUID) -> None:
        super().__init__(reason, denial="policy", target="agent_budget")
        self.run_id = run_id


class ApprovalNeeded(Conflict):
    """The call waits for a person, and its run has ended as `escalated_human`."""

    code: ClassVar[str] = "approval_needed"

    def __init__(self, message: str, tool_call_id: UUID) -> None:
        super().__init__(message)
        self.tool_call_id = tool_call_id


def class_of(error: BaseException) -> ErrorClass:
    """The error class that an exception stands for."""
    told: ErrorClass | None = getattr(error, "error_class", None)
    if told is not None:
        return told
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return "timeout"
    if isinstance(error, InvalidInput | LimitExceeded | ValidationError):
        return "validation_error"
    if isinstance(error, Forbidden | Unauthenticated):
        return "authz_denied"
    if isinstance(error, httpx.HTTPStatusError):
        return "provider_error"
    if isinstance(error, DatabaseUnavailable | httpx.TransportError | ConnectionError):
        return "dependency_unavailable"
    return "unexpected_internal"


def message_of(error: BaseException) -> str:
    """What is kept of an exception: its type where nothing is said that may be kept."""
    if isinstance(error, asyncio.CancelledError):
        return "it was cancelled"
    return _UNSTORABLE.sub(" ", f"{type(error).__name__}: {error}")[:2_000]
