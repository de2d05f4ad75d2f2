"""Usage as callers see it, and what callers say of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, computed_field

from datalane.access.entitlements.plans import MOST_UNITS, Window
from datalane.contracts.storable import Text

Outcome = Literal["accepted", "replayed", "refused"]
Units = Annotated[int, Field(ge=1, le=MOST_UNITS, strict=True)]
UsedUnits = Annotated[int, Field(ge=0, le=MOST_UNITS, strict=True)]
QuotaKey = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,63}$")]
UseKey = Annotated[Text, Field(min_length=1, max_length=200)]


class _Standing(BaseModel):
    """What a quota stands at. `limit_units` is null where nothing is refused, and so is `remaining_units` then."""

    quota_key: str
    consumed_units: int
    reserved_units: int
    limit_units: int | None
    period_start: datetime | None
    period_end: datetime | None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def remaining_units(self) -> int | None:
        if self.limit_units is None:
            return None
        return max(0, self.limit_units - self.consumed_units - self.reserved_units)


class Use(_Standing):
    """What came of a use. `replayed` was counted before, by the same key; `refused` changed nothing. The period is
    null for a rolling window. `retry_at` is when there may be room for it, null when never."""

    outcome: Outcome
    retry_at: datetime | None = None

    @property
    def is_refused(self) -> bool:
        return self.outcome == "refused"


class Corrected(_Standing):
    """What the period holds after a correction."""

    outcome: Outcome


class Counter(_Standing):
    """A quota of the plan in the period that holds now; a rolling window begins `seconds` ago and has no end.
    `recovering`: nothing is refused for a time. `counter_version` counts the changes."""

    window: Window
    seconds: int | None
    time_zone: str
    plan_id: str
    plan_version: int
    override_source: str | None
    recovering: bool
    last_increment_at: datetime | None
    last_increment_correlation_id: str | None
    counter_version: int


class CounterList(BaseModel):
    """`at` is the moment that the counters are of."""

    workspace_id: UUID
    at: datetime
    data: list[Counter]


class NewUse(BaseModel):
    model_config = ConfigDict(extra="forbid")

    quota_key: QuotaKey
    units: Units = 1
    idempotency_key: UseKey


class NewReservation(NewUse):
    """`seconds` is how long the units are set aside when nobody says what came of it."""

    seconds: Annotated[int, Field(ge=1, le=86_400, strict=True)] = 900


class ReservationTarget(BaseModel):
    model_config = ConfigDict(extra="forbid")

    quota_key: QuotaKey
    idempotency_key: UseKey


class ReservationEnd(ReservationTarget):
    """`units` is what the work took, 0 included."""

    units: UsedUnits


class Released(BaseModel):
    """Whether the units were still set aside."""

    released: bool


class LedgerRow(BaseModel):
    """One use or correction. `at` is when it was used, `recorded_at` when it was written."""

    quota_key: str
    idempotency_key: str
    kind: Literal["consume", "commit", "metered", "correction"]
    units: int
    period_start: datetime | None
    at: datetime
    recorded_at: datetime
    actor_id: UUID
    correlation_id: str | None
    reason: str | None


class LedgerPage(BaseModel):
    data: list[LedgerRow]
    page_size: int
    next_cursor: str | None


class Difference(BaseModel):
    """A counter that is not what its ledger and its open reservations say."""

    quota_key: str
    period_start: datetime | None
    consumed_units: int
    ledger_units: int
    reserved_units: int
    open_units: int


class Answer(BaseModel):
    """Whether a workspace may do something now, why or why not, and until when that holds as far as is known. With a
    quota, `remaining_units` is what is left of it, and `until` the end of its period where that comes first."""

    key: str
    allowed: bool
    reason: str
    until: datetime | None
    plan_id: str | None
    entitlement_status: Literal["enabled", "disabled", "grace"] | None = None
    limit_units: int | None = None
    remaining_units: int | None = None

    def but(self, **said: object) -> Self:
        return self.model_copy(update=said)
