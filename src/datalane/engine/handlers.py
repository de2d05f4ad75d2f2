"""Handlers: what a job kind does. A handler's type says what happens when things go wrong.

- `transactional`: runs inside one tenant transaction. Its effect and the job's completion commit together, so the
  effect happens exactly once. Jobs of one workspace may share a transaction; if one fails, all are undone and redone
  one by one, so a transactional handler must touch nothing but its transaction.
- `external`: calls the outside world, after writing down its intent if it needs one. It runs at least once; hand
  `job.id` to the other side as idempotency key. A plain function runs in a thread.
- `staged`: prepares a batch outside (slow work, no writes), then applies it inside one transaction with the
  completions: exactly once, like `transactional`.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar
from uuid import UUID

from datalane.contracts.context import Context, Role
from datalane.db.transaction import Transaction
from datalane.errors import ConfigurationError
from datalane.kit.retry import RetryPolicy


@dataclass(slots=True)
class Job:
    """A claimed job. `attempt_count` counts this attempt; `causation_id` is the event that caused it."""

    workspace_id: UUID
    id: UUID
    kind: str
    subject_id: str | None
    args: dict[str, Any]
    attempt_count: int
    max_attempts: int
    rescue_count: int
    lease_token: int
    actor_id: UUID
    correlation_id: str
    causation_id: UUID | None
    causation_depth: int
    order_key: str | None
    queued_at: datetime
    traceparent: str | None = None

    @property
    def context(self) -> Context:
        """The system acting for the job's actor; what it publishes is caused by the job's cause."""
        return self.make_context()

    def make_context(self) -> Context:
        return Context(
            self.workspace_id,
            self.actor_id,
            Role.SYSTEM,
            self.correlation_id,
            causation_id=self.causation_id,
            causation_depth=self.causation_depth + 1 if self.causation_id else self.causation_depth,
        )

    def log_fields(self) -> dict[str, str]:
        """Whose work this is, for every log line of it."""
        return {
            "correlation_id": self.correlation_id,
            "workspace_id": str(self.workspace_id),
            "actor_id": str(self.actor_id),
            "job_id": str(self.id),
        }


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job failed, for people and for the retry decision. `message` is safe to store.

    `postponed` says that the other side asked to wait for `retry_after`: no attempt is spent.
    """

    error_class: str
    message: str
    retryable: bool
    retry_after: timedelta | None = None
    postponed: bool = False


class Mode(StrEnum):
    TRANSACTIONAL = "transactional"
    EXTERNAL = "external"
    STAGED = "staged"


Transactional = Callable[[Transaction, Job], Awaitable[None]]
External = Callable[[Job], Awaitable[None] | None]
Prepare = Callable[[Sequence[Job]], Awaitable[Sequence[Any]]]
Apply = Callable[[Transaction, Sequence[Job], Sequence[Any]], Awaitable[None]]
F = TypeVar("F", bound=Callable[..., Any])
OnFailure = Callable[[Transaction, Job, Failure], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Handler:
    """`timeout` bounds one run; `max_running` bounds runs at once over all workers (None: no bound).

    `on_failure` writes the domain's record of a failed attempt, in the transaction that records the failure.
    """

    kind: str
    mode: Mode
    function: Callable[..., Any]
    prepare: Prepare | None = None
    batch: int = 1
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    timeout: timedelta = timedelta(minutes=5)
    max_running: int | None = None
    on_failure: OnFailure | None = None

    @property
    def in_thread(self) -> bool:
        return not inspect.iscoroutinefunction(self.function)


@dataclass(frozen=True, slots=True)
class EventHandler:
    event_type: str
    kind: str
    ordered: bool


class Handlers:
    """The handlers of one application: by job kind, and by event type for every workspace."""

    def __init__(self) -> None:
        self._by_kind: dict[str, Handler] = {}
        self.events: list[EventHandler] = []

    def add(self, handler: Handler) -> None:
        """Raises `ConfigurationError` when the kind has a handler already or the handler does not fit its mode."""
        if handler.kind in self._by_kind:
            raise ConfigurationError(f"the job kind {handler.kind} has two handlers")
        if handler.mode is not Mode.EXTERNAL and handler.in_thread:
            raise ConfigurationError(f"the {handler.mode} handler of {handler.kind} must be an async function")
        self._by_kind[handler.kind] = handler

    def transactional(
        self, kind: str, *, retry: RetryPolicy | None = None, **options: Any
    ) -> Callable[[Transactional], Transactional]:
        """Register `async def handler(tx, job)`."""
        return self._decorator(kind, Mode.TRANSACTIONAL, retry, options)

    def external(
        self, kind: str, *, retry: RetryPolicy | None = None, **options: Any
    ) -> Callable[[External], External]:
        """Register `async def handler(job)` or a plain function, which runs in a thread."""
        return self._decorator(kind, Mode.EXTERNAL, retry, options)

    def staged(
        self, kind: str, *, prepare: Prepare, batch: int, retry: RetryPolicy | None = None, **options: Any
    ) -> Callable[[Apply], Apply]:
        """Register `async def apply(tx, jobs, prepared)`.

        `prepare(jobs)` answers one result a job; an exception as a result fails just that job.
        """
        return self._decorator(kind, Mode.STAGED, retry, {**options, "prepare": prepare, "batch": batch})

    def on_event(
        self, event_type: str, *, kind: str | None = None, ordered: bool = False, **options: Any
    ) -> Callable[[Transactional], Transactional]:
        """Register a transactional handler of an event type; `job.args["event_id"]` is the event.

        `ordered` keeps the events of one subject in their order.
        """
        name = kind or f"on:{event_type}"
        self.events.append(EventHandler(event_type, name, ordered))
        return self.transactional(name, **options)

    def _decorator(self, kind: str, mode: Mode, retry: RetryPolicy | None, options: dict[str, Any]) -> Callable[[F], F]:
        def register(function: F) -> F:
            self.add(Handler(kind, mode, function, retry=retry or RetryPolicy(), **options))
            return function

        return register

    def get(self, kind: str) -> Handler:
        return self._by_kind[kind]

    @property
    def kinds(self) -> list[str]:
        return sorted(self._by_kind)

    def __iter__(self) -> Iterator[Handler]:
        return iter(self._by_kind.values())
