"""Waivers: a finding that somebody answers for until a day.

[[waiver]]
rule = "lock-require-concurrent-index-creation"
target = "datalane.jobs"
owner = "ada@example.com"
reason = "the table is empty everywhere until the next release"
expires = 2026-03-01
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from datalane.errors import ConfigurationError
from datalane.ops.guard.rules import RULES, Fault, Finding, rule

WAIVERS_FILE = "guard-waivers.toml"
LONGEST = timedelta(days=366)
"""How far ahead a waiver may end."""

_TEXTS = ("rule", "target", "owner", "reason")


@dataclass(frozen=True, slots=True)
class Waiver:
    """One entry as written; `place` is its number in the file. What is missing is empty or None."""

    rule: str
    target: str
    owner: str
    reason: str
    expires: date | None
    place: str

    @property
    def shown(self) -> str:
        return f"{self.rule or '(no rule)'} for {self.target or '(no target)'}"

    def complete(self) -> bool:
        return all(getattr(self, name).strip() for name in _TEXTS) and self.expires is not None

    def holds(self, today: date) -> bool:
        """Whether it stands for its finding: whole, of a rule that can be waived, not past its day."""
        known = RULES.get(self.rule)
        if known is None or not known.waivable or not self.complete():
            return False
        assert self.expires is not None
        return today <= self.expires <= today + LONGEST


def read_waivers(path: Path) -> list[Waiver]:
    """The waivers of the file, none when there is no file. Raises `ConfigurationError` when it is not TOML."""
    try:
        said = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    entries = said.get("waiver", [])
    if not isinstance(entries, list) or set(said) - {"waiver"}:
        raise ConfigurationError(f"{path} holds something else than [[waiver]] entries")
    return [_waiver(entry, f"{path.name}, entry {number}") for number, entry in enumerate(entries, 1)]


def _waiver(entry: dict[str, Any], place: str) -> Waiver:
    if unknown := sorted(set(entry) - {*_TEXTS, "expires"}):
        raise ConfigurationError(f"{place}: unknown {', '.join(unknown)}; known are {', '.join(_TEXTS)}, expires")
    texts = {name: entry[name] if isinstance(entry.get(name), str) else "" for name in _TEXTS}
    expires = entry.get("expires")
    day = expires.date() if isinstance(expires, datetime) else expires
    return Waiver(**texts, expires=day if isinstance(day, date) else None, place=place)


@rule(
    "waiver-complete",
    holds="a waiver names rule, target, owner, reason and the day it expires",
    remedy="fill it in; expires is a date such as 2026-03-01",
    story="F8-E3",
    waivable=False,
)
def check_complete(waivers: Sequence[Waiver], today: date) -> Iterator[Fault]:
    for each in waivers:
        missing = [name for name in _TEXTS if not getattr(each, name).strip()]
        missing += ["expires"] if each.expires is None else []
        if missing:
            yield Fault(each.shown, f"no {', no '.join(missing)}", each.place)


@rule(
    "waiver-rule",
    holds="a waiver is of a rule that exists and can be waived",
    remedy="take a rule from the reference, or mend what it is about",
    story="F8-E3",
    waivable=False,
)
def check_rule(waivers: Sequence[Waiver], today: date) -> Iterator[Fault]:
    for each in waivers:
        if each.rule and each.rule not in RULES:
            yield Fault(each.shown, f"there is no rule {each.rule}", each.place)
        elif each.rule and not RULES[each.rule].waivable:
            yield Fault(each.shown, f"the rule {each.rule} cannot be waived", each.place)


@rule(
    "waiver-expired",
    holds="no waiver is past its day, and none ends more than a year ahead",
    remedy="mend what it was about, or have its owner answer for it anew",
    story="F8-E3",
    waivable=False,
)
def check_expired(waivers: Sequence[Waiver], today: date) -> Iterator[Fault]:
    for each in waivers:
        if each.expires is not None and each.expires < today:
            yield Fault(each.shown, f"it expired on {each.expires}; its owner is {each.owner or 'unknown'}", each.place)
        elif each.expires is not None and each.expires > today + LONGEST:
            yield Fault(each.shown, f"it ends on {each.expires}, more than a year ahead", each.place)


def apply(
    found: Sequence[Finding], waivers: Sequence[Waiver], today: date
) -> tuple[list[Finding], list[tuple[Finding, Waiver]]]:
    """What is left of the findings, and what is waived and by which waiver."""
    standing = {(each.rule, each.target): each for each in waivers if each.holds(today)}
    left = [one for one in found if (one.rule, one.target) not in standing]
    waived = [(one, standing[one.rule, one.target]) for one in found if (one.rule, one.target) in standing]
    return left, waived
