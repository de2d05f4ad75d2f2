"""Rules, and what they find.

A rule is a function that yields a `Fault` for each target that breaks it. `rule` puts it into the rule book under its
subject; `findings` runs all rules of a subject. An id begins with its subject: a waiver says at once what it is about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar


@dataclass(frozen=True, slots=True)
class Rule:
    """`holds` is what is true when nothing is found; `remedy` is what to do otherwise."""

    id: str
    holds: str
    remedy: str
    story: str
    waivable: bool = True

    @property
    def subject(self) -> str:
        return self.id.partition("-")[0]


@dataclass(frozen=True, slots=True)
class Fault:
    """`target` is the table, verb or revision; `found` says what is wrong with it; `place` is a file and line."""

    target: str
    found: str
    place: str | None = None
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault with what its rule says: the control that is missing, the remedy, the story."""

    rule: str
    target: str
    found: str
    control: str
    remedy: str
    story: str
    place: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        return asdict(self)


Check = Callable[..., Iterable[Fault]]
C = TypeVar("C", bound=Check)

RULES: dict[str, Rule] = {}
"""Every rule by its id."""
_checks: list[tuple[Rule, Check]] = []


def declare(one: Rule) -> Rule:
    """Put a rule into the book without a function of its own."""
    if one.id in RULES:
        raise ValueError(f"there are two rules {one.id}")
    RULES[one.id] = one
    return one


def rule(id: str, *, holds: str, remedy: str, story: str, waivable: bool = True) -> Callable[[C], C]:
    """Register the function below as the check of a new rule."""
    one = declare(Rule(id, holds, remedy, story, waivable))

    def register(check: C) -> C:
        _checks.append((one, check))
        return check

    return register


def finding(one: Rule, fault: Fault) -> Finding:
    return Finding(one.id, fault.target, fault.found, one.holds, fault.remedy or one.remedy, one.story, fault.place)


def findings(subject: str, *material: Any) -> list[Finding]:
    """What all rules of `subject` find in `material`, in the order of the rule book."""
    return [finding(one, fault) for one, check in _checks if one.subject == subject for fault in check(*material)]
