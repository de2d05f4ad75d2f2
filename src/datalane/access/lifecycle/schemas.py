"""Signals as they are told, and demo access as callers see it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from datalane.access.lifecycle.states import Signal, State
from datalane.contracts.storable import Moment, Text

OPERATOR = "operator"
"""The source system of what the operator of the lane says. No other source may have this name."""
MOST_GRACE = 366 * 86_400
_FIRST_YEAR, _LAST_YEAR = 1970, 2999
_OF_A_PERIOD = frozenset({"activate", "renew", "reactivate"})

Receipt = Literal["accepted", "held", "duplicate", "conflict"]
Outcome = Literal["applied", "ignored", "stale", "ahead"]
UiStatus = Literal["pending", "active", "grace", "suspended", "expired", "deactivated", "pending_sync"]
SourceSystem = Annotated[Text, Field(min_length=1, max_length=100)]
SourceEventId = Annotated[Text, Field(min_length=1, max_length=200)]
PlanId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,63}$")]
Version = Annotated[int, Field(ge=0, lt=2**63, strict=True)]
GraceSeconds = Annotated[int, Field(ge=0, le=MOST_GRACE, strict=True)]
Who = Annotated[Text, Field(min_length=1, max_length=200)]
Note = Annotated[Text, Field(min_length=1, max_length=500)]


def _within(moment: datetime | None, name: str) -> None:
    if moment is not None and not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise ValueError(f"{name} must be in the years {_FIRST_YEAR} to {_LAST_YEAR}")


class NewSignal(BaseModel):
    """What a source tells: that something happened to the access at `occurred_at` by its own clock, as the
    `source_version`th change that it counted, if it does count.

    `activate` names a plan and may name when its period ends and how long the grace after it is; `renew` names an end;
    `reactivate` may name all of them. `told_by` and `note` say who told it and why, where a person did.
    """

    model_config = ConfigDict(extra="forbid")

    source_system: SourceSystem
    source_event_id: SourceEventId
    signal: Literal["activate", "renew", "suspend", "resume", "end", "grace_over", "deactivate", "reactivate"]
    occurred_at: Moment
    source_version: Version | None = None
    plan_id: PlanId | None = None
    ends_at: Moment | None = None
    grace_seconds: GraceSeconds | None = None
    told_by: Who | None = None
    note: Note | None = None

    @model_validator(mode="after")
    def _says_what_it_needs(self) -> Self:
        _within(self.occurred_at, "occurred_at")
        _within(self.ends_at, "ends_at")
        if self.signal == "activate" and self.plan_id is None:
            raise ValueError("activate names a plan_id")
        if self.signal == "renew" and self.ends_at is None:
            raise ValueError("renew names ends_at")
        if self.signal not in _OF_A_PERIOD and (self.plan_id or self.ends_at):
            raise ValueError(f"{self.signal} names neither plan_id nor ends_at")
        if self.signal not in {*_OF_A_PERIOD, "end"} and self.grace_seconds is not None:
            raise ValueError(f"{self.signal} names no grace_seconds")
        if self.ends_at is not None and self.ends_at <= self.occurred_at:
            raise ValueError("ends_at must be after occurred_at")
        return self


class Correction(BaseModel):
    """The operator's word: from `occurred_at` on, or from now, the access is in `state`, whatever was told of before.
    What sources tell of later goes on from there.

    A corrected `active` or `suspended` has the period that it names, and without one no end; `grace` names its
    length. Without a plan that of before stays.
    """

    model_config = ConfigDict(extra="forbid")

    state: State
    told_by: Who
    note: Note
    source_event_id: SourceEventId | None = None
    occurred_at: Moment | None = None
    plan_id: PlanId | None = None
    ends_at: Moment | None = None
    grace_seconds: GraceSeconds | None = None

    @model_validator(mode="after")
    def _says_what_it_needs(self) -> Self:
        _within(self.occurred_at, "occurred_at")
        _within(self.ends_at, "ends_at")
        if self.state == "grace" and not self.grace_seconds:
            raise ValueError("grace names grace_seconds, how long it lasts")
        if self.state not in {"active", "grace", "suspended"} and self.grace_seconds is not None:
            raise ValueError(f"{self.state} names no grace_seconds")
        if self.state not in {"active", "suspended"} and self.ends_at is not None:
            raise ValueError(f"{self.state} names no ends_at")
        if self.ends_at is not None and self.occurred_at is not None and self.ends_at <= self.occurred_at:
            raise ValueError("ends_at must be after occurred_at")
        return self


class SignalReceipt(BaseModel):
    """What became of a signal: `held` has no place yet, a `duplicate` and a `conflict` have no effect. `outcome` is
    what it, or the one that came first under its id, comes to, and `reason` why that is nothing; `ahead` is one that
    comes to something when its time has come."""

    source_system: str
    source_event_id: str
    receipt: Receipt
    outcome: Outcome
    reason: str | None


class KeptSignal(BaseModel):
    """A signal as it was told, and what it comes to. `late` says that a later one was there already. `told_by`, `note`,
    `released_by` and `release_note` are there where a person did it."""

    source_system: str
    source_event_id: str
    signal: Signal
    state: State | None
    plan_id: str | None
    occurred_at: datetime
    source_version: int | None
    ends_at: datetime | None
    grace_seconds: int | None
    told_by: str | None = None
    note: str | None = None
    released_by: str | None = None
    release_note: str | None = None
    held: Literal["future", "old"] | None
    late: bool
    outcome: Outcome
    reason: str | None
    conflicts: int
    conflicting: Any
    received_at: datetime
    correlation_id: str | None


class AccessDifference(BaseModel):
    """What stands somewhere else than the history says."""

    field: str
    expected: Any
    found: Any


class DemoAccessStatus(BaseModel):
    """Where the demo access of the workspace is now.

    `status` is what to show: the state, or `pending_sync` while something that was told is not applied, or what is
    enforced differs from what the history says; `reason` then says why. `until` is when time alone changes the state.
    """

    status: UiStatus
    state: State
    reason: str | None
    plan_id: str | None
    since: datetime | None
    until: datetime | None
    ends_at: datetime | None
    grace_ends_at: datetime | None
    source_system: str | None
    source_event_id: str | None
    source_version: int | None
    last_synced_at: datetime | None
    held_signals: int
    version: int


class AccessChange(BaseModel):
    """A change in the history: of the state, the plan or the period. One that a late signal made untrue is superseded.
    `why` is the signal, or `period_ended` or `grace_ended`."""

    history_id: UUID
    ordinal: int
    from_state: State
    to_state: State
    plan_id: str | None
    ends_at: datetime | None
    grace_seconds: int
    why: str
    source_system: str | None
    source_event_id: str | None
    at: datetime
    recorded_at: datetime
    superseded_at: datetime | None
    correlation_id: str | None
    actor_id: UUID


class AccessHistoryPage(BaseModel):
    data: list[AccessChange]
    page_size: int
    next_cursor: str | None


class Settled(BaseModel):
    """`changed` says whether it is another one than was written down before, `sync_error` why what was told is not
    applied."""

    state: State
    changed: bool
    sync_error: str | None


class Reconciled(BaseModel):
    """What the history says, and where something else stands. `repaired` says that it was mended."""

    workspace_id: UUID
    state: State
    signals: int
    differences: list[AccessDifference]
    repaired: bool
