"""What signals come to, decided from values: a pure fold over the signals in one order, and time.

A signal is none before its time: what is folded at a moment are the signals that count from then or from before.

The database decides the same in SQL (`datalane.fold_demo_access`), where it holds the workspace's row; this is by what
the reconciling checks it, and by what readers see what has come about before anything was written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any

from datalane.access.lifecycle.states import RULES, Ignored, Signal, State

AHEAD = "its time has not come"
"""What is said of a signal that is ahead of the moment of the fold."""

_NO_PLAN = Ignored("no plan is known")


@dataclass(frozen=True, slots=True)
class Told:
    """A signal as it was told. `source_version` counts the source's own changes, where it does count them."""

    source_system: str
    source_event_id: str
    signal: Signal
    occurred_at: datetime
    source_version: int | None = None
    plan_id: str | None = None
    ends_at: datetime | None = None
    grace_seconds: int | None = None
    state: State | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """Where an access is. Its period ends at `ends_at`, None is never, and its grace `grace_seconds` later."""

    state: State = "pending"
    plan_id: str | None = None
    ends_at: datetime | None = None
    grace_seconds: int = 0

    @property
    def grace_ends_at(self) -> datetime | None:
        return None if self.ends_at is None else self.ends_at + timedelta(seconds=self.grace_seconds)

    @property
    def deadline(self) -> datetime | None:
        """When time alone changes it next."""
        if self.state == "active":
            return self.ends_at
        return self.grace_ends_at if self.state in {"grace", "suspended"} else None


@dataclass(frozen=True, slots=True)
class Step:
    """A change of the state, the plan or the period; `why` is the signal, or which time was over."""

    before: State
    after: Position
    why: str
    at: datetime
    source_system: str | None = None
    source_event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Folded:
    """`outcomes` says of each signal, by its source and id, None for one that was applied, or why it was not: `AHEAD`,
    or why it is ignored. `led` is the last that was applied, `since` when the state began, and `next_at` when time, or
    the first of the signals that are ahead, changes it next."""

    position: Position
    steps: tuple[Step, ...]
    outcomes: Mapping[tuple[str, str], str | None]
    led: Told | None = None
    since: datetime | None = None
    next_at: datetime | None = None


def fold(signals: Iterable[Told], now: datetime) -> Folded:
    """What `signals`, each there once, come to at `now`, whatever order they stand in."""
    placed = in_order(signals)
    due = [(moment, told) for moment, told in placed if moment <= now]
    position, steps, led = Position(), list[Step](), None
    outcomes = dict[tuple[str, str], str | None]()
    for moment, told in due:
        for step in _until(position, moment, inclusive=False):
            position = step.after
            steps.append(step)
        key = (told.source_system, told.source_event_id)
        after = _decide(position, told, moment)
        outcomes[key] = after.reason if isinstance(after, Ignored) else None
        if isinstance(after, Ignored):
            continue
        led = told
        if after != position:
            steps.append(Step(position.state, after, told.signal, moment, *key))
            position = after
    for step in _until(position, now, inclusive=True):
        position = step.after
        steps.append(step)
    ahead = placed[len(due) :]
    outcomes |= {(told.source_system, told.source_event_id): AHEAD for _, told in ahead}
    turns = [moment for moment in (position.deadline, *(moment for moment, _ in ahead[:1])) if moment is not None]
    return Folded(position, tuple(steps), outcomes, led, _since(steps), min(turns, default=None))


def outcome_of(reason: str | None) -> str:
    """As it is kept of a signal that has a place."""
    if reason is None:
        return "applied"
    return "ahead" if reason == AHEAD else "ignored"


def told_of(row: Mapping[str, Any]) -> Told:
    """A signal as it stands in the database."""
    return Told(**{name: row[name] for name in Told.__slots__})


def advance(position: Position, now: datetime) -> Position:
    """Where `position` is at `now` when nothing was told since."""
    for step in _until(position, now, inclusive=True):
        position = step.after
    return position


def in_order(signals: Iterable[Told]) -> list[tuple[datetime, Told]]:
    """The signals with the moments that they count from, in the one order that there is.

    The moment of a signal with a version is the latest that its source has named up to that version: so versions
    order within a source, time orders across sources, and the two agree. Of one moment, corrections come last.
    """
    placed = list[tuple[datetime, Told]]()
    counted = dict[str, list[Told]]()
    for told in signals:
        if told.source_version is None:
            placed.append((told.occurred_at, told))
        else:
            counted.setdefault(told.source_system, []).append(told)
    for source in counted.values():
        latest = _latest_by_version(source)
        placed += [(latest[told.source_version or 0], told) for told in source]
    return sorted(placed, key=_place)


def _latest_by_version(source: Iterable[Told]) -> Mapping[int, datetime]:
    latest = dict[int, datetime]()
    for told in source:
        version = told.source_version or 0
        latest[version] = max(told.occurred_at, latest.get(version, told.occurred_at))
    versions = sorted(latest)
    return dict(zip(versions, accumulate((latest[version] for version in versions), max), strict=True))


def _place(placed: tuple[datetime, Told]) -> tuple[object, ...]:
    moment, told = placed
    version = -1 if told.source_version is None else told.source_version
    return (
        moment,
        told.signal == "correct",
        told.source_system,
        version,
        told.occurred_at,
        told.source_event_id,
    )


def _since(steps: Iterable[Step]) -> datetime | None:
    """When the state that the last of `steps` led to began: a change of the period alone begins none."""
    since = None
    for step in steps:
        if since is None or step.after.state != step.before:
            since = step.at
    return since


def _until(position: Position, moment: datetime, inclusive: bool) -> Iterator[Step]:
    """What time alone does before `moment`, or up to it."""
    while (ended := position.deadline) is not None and (ended < moment or (inclusive and ended == moment)):
        active = position.state == "active"
        target = _fall("grace", position, ended) if active else "expired"
        after = replace(position, state=target)
        yield Step(position.state, after, "period_ended" if active else "grace_ended", ended)
        position = after


def _decide(position: Position, told: Told, moment: datetime) -> Position | Ignored:
    corrected = told.signal == "correct"
    target = told.state if corrected else RULES[position.state][told.signal]
    if isinstance(target, Ignored):
        return target
    if target is None:
        raise ValueError("a correction names a state")
    if told.signal == "activate" or (corrected and target in {"active", "suspended"}):
        ends_at = told.ends_at
    elif told.signal == "end" or (corrected and target == "grace"):
        ends_at = moment
    elif target == "pending":
        ends_at = None
    else:
        ends_at = told.ends_at or position.ends_at
    grace = told.grace_seconds
    if grace is None:
        grace = 0 if told.signal == "activate" else position.grace_seconds
    after = Position(target, told.plan_id or position.plan_id, ends_at, grace)
    after = replace(after, state=_fall(target, after, moment))
    return _NO_PLAN if after.plan_id is None and after.state in {"active", "grace"} else after


def _fall(state: State, period: Position, moment: datetime) -> State:
    """What a state that is come to at `moment` is: active past the end is grace, grace that is over is expired."""
    if state not in {"active", "grace", "suspended"} or period.ends_at is None or period.ends_at > moment:
        return state
    if period.grace_ends_at is not None and period.grace_ends_at <= moment:
        return "expired"
    return "grace" if state == "active" else state
