"""A moderator that decides by words, and one that misbehaves by words."""

from __future__ import annotations

import asyncio
from typing import Any

from datalane.agents.safety.moderator import About, Subject, Verdict

EVERYTHING: frozenset[Subject] = frozenset({"input", "output", "arguments", "result"})
SECRET = "the treasure lies under the oak"
"""What stands nowhere once it was refused."""


class Words:
    """Refuses what holds `refuse`, flags what holds `flag`; some words make it misbehave."""

    name = "words"
    version = "1.2"
    subjects = EVERYTHING

    def __init__(self) -> None:
        self.asked: list[tuple[Subject, Any, About]] = []

    async def judge(self, subject: Subject, content: Any, about: About) -> Verdict:
        self.asked.append((subject, content, about))
        said = str(content)
        if "raise" in said:
            raise ZeroDivisionError(said)
        if "cancel" in said:
            raise asyncio.CancelledError
        if "hang" in said:
            await asyncio.Event().wait()
        if "deaf" in said:
            await deaf()
        if "nonsense" in said:
            return "refused"  # type: ignore[return-value]
        if "refuse" in said:
            return Verdict(outcome="refused", category="rude", reason="it is not polite")
        return Verdict(outcome="flagged", category="odd") if "flag" in said else Verdict(outcome="allowed")


async def deaf() -> None:
    """Goes on when it is cancelled; the end of the loop cancels it once more."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.Event().wait()
