"""Asking the moderator, within its time. Whatever goes wrong refuses the content."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, get_args
from uuid import UUID

from datalane.agents.runs.schemas import ErrorClass, Outcome
from datalane.agents.safety.faults import ContentRefused, ModerationUnavailable
from datalane.agents.safety.moderator import USUAL_SUBJECTS, About, Moderator, Subject, Verdict
from datalane.agents.safety.moderator import Outcome as Judgement
from datalane.contracts.context import Context
from datalane.engine.suppression import Suppressor
from datalane.errors import ConfigurationError
from datalane.kit.logs import get_logger

log = get_logger(__name__)
_abandoned = set[asyncio.Task[Verdict]]()
"""Judgements that took too long and do not heed that they were cancelled."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What was decided, as it goes on record."""

    subject: Subject
    outcome: Judgement
    judged_by: str
    category: str | None = None
    reason: str | None = None
    citation_ids: tuple[UUID, ...] = ()

    @property
    def passes(self) -> bool:
        return self.outcome in ("allowed", "flagged")

    @property
    def message(self) -> str:
        if self.outcome == "failed":
            return f"the {self.subject} could not be judged: {self.reason}"
        return f"the {self.subject} was refused ({self.category})" + (f": {self.reason}" if self.reason else "")

    @property
    def ending(self) -> tuple[Outcome, ErrorClass]:
        """How a run ends whose input or output does not pass."""
        return ("failed", "dependency_unavailable") if self.outcome == "failed" else ("blocked_policy", "policy_denied")

    def error(self, run_id: UUID | None) -> ContentRefused | ModerationUnavailable:
        if self.outcome == "failed":
            return ModerationUnavailable(self.message, self.subject, run_id)
        return ContentRefused(self.message, self.subject, self.category or "", run_id)

    def recording(self, context: Context) -> Context:
        """As whom it is recorded: suppressing citations takes the lane itself, whoever asked for the run."""
        if not self.citation_ids:
            return context
        lane = Context.system(context.workspace_id, context.correlation_id)
        return lane.caused_by(context.causation_id, context.causation_depth)


@dataclass(slots=True)
class Safety:
    """What is asked about contents of agents; without a `moderator` nothing is. `citations` suppresses those that a
    verdict names."""

    moderator: Moderator | None = None
    timeout: timedelta = timedelta(seconds=5)
    citations: Suppressor | None = None

    def moderate_with(self, moderator: Moderator) -> None:
        """Raises `ConfigurationError` for what cannot judge, and where another one does already."""
        check_moderator(moderator)
        if self.moderator is not None and self.moderator is not moderator:
            raise ConfigurationError(
                f"agents have a moderator, {self.moderator.name}; name one in the application or in "
                "DATALANE_AGENTS__MODERATOR, not in both"
            )
        self.moderator = moderator

    def take_over(self, other: Safety) -> None:
        """Ask the moderator of the other one too. Raises as `moderate_with`."""
        if other.moderator is not None:
            self.moderate_with(other.moderator)

    def wants(self, subject: Subject) -> bool:
        return self.moderator is not None and subject in _subjects(self.moderator)

    async def judge(self, subject: Subject, content: Any, about: About) -> Judged | None:
        """What becomes of the content; None where nobody is asked, or there is none."""
        if content is None or not self.wants(subject):
            return None
        assert self.moderator is not None
        judged_by = _name_of(self.moderator)
        verdict = await self._ask(self.moderator, subject, content, about)
        if isinstance(verdict, str):
            log.warning("agent_moderation_failed", moderator=judged_by, subject=subject, reason=verdict)
            return Judged(subject, "failed", judged_by, reason=verdict)
        return Judged(
            subject,
            verdict.outcome,
            judged_by,
            verdict.category,
            verdict.reason,
            tuple(dict.fromkeys(verdict.citation_ids)),
        )

    async def _ask(self, moderator: Moderator, subject: Subject, content: Any, about: About) -> Verdict | str:
        """Or why there is no verdict. An error tells its type alone, since its message may hold what was judged."""

        async def judge() -> Verdict:
            return await moderator.judge(subject, content, about)

        asked = asyncio.create_task(judge())
        try:
            await asyncio.wait({asked}, timeout=self.timeout.total_seconds())
        finally:
            if not asked.done():
                _abandon(asked)
        if not asked.done() or asked.cancelled():
            return f"the moderator did not answer within {self.timeout.total_seconds():g} seconds"
        error = asked.exception()
        if error is not None:
            return f"the moderator failed with {type(error).__name__[:100]}"
        verdict = asked.result()
        if not isinstance(verdict, Verdict):
            return "the moderator said no verdict"
        if verdict.citation_ids and (subject != "output" or self.citations is None):
            return "the moderator named citations where none can be suppressed"
        return verdict


def check_moderator(moderator: Any) -> None:
    """Raises `ConfigurationError` for what cannot judge."""
    name, version = getattr(moderator, "name", None), getattr(moderator, "version", None)
    if not (
        isinstance(name, str) and isinstance(version, str) and name and version and len(f"{name} {version}") <= 200
    ):
        raise ConfigurationError("a moderator has a name and a version, texts of up to 199 characters together")
    if not callable(getattr(moderator, "judge", None)):
        raise ConfigurationError(f"the moderator {name} has no method `judge`")
    strange = set(_subjects(moderator)) - set(get_args(Subject))
    if strange:
        raise ConfigurationError(
            f"the moderator {name} wants to judge {', '.join(sorted(map(str, strange)))}, which is no subject"
        )


def _subjects(moderator: Moderator) -> frozenset[Subject]:
    return frozenset(getattr(moderator, "subjects", USUAL_SUBJECTS))


def _name_of(moderator: Moderator) -> str:
    return f"{moderator.name} {moderator.version}"


def _abandon(asked: asyncio.Task[Verdict]) -> None:
    asked.cancel()
    _abandoned.add(asked)
    asked.add_done_callback(_forget)


def _forget(asked: asyncio.Task[Verdict]) -> None:
    _abandoned.discard(asked)
    if not asked.cancelled():
        asked.exception()  # it was retrieved, so that nobody complains that it never was
