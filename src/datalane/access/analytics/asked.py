"""What is asked of analytics, and what is answered."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Final, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from datalane.access.analytics.schemas import EventName

MOST_DAYS: Final = 400
MOST_STEPS: Final = 10


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError, ValueError) as error:
        raise ValueError("must be a time zone by its name, such as Europe/Berlin") from error
    return name


TimeZone = Annotated[
    str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9_+/-]*$"), AfterValidator(_known_zone)
]
Day = Annotated[date, Field(ge=date(2000, 1, 1), le=date(2999, 12, 31))]


Verdict = Literal["usual", "low", "high"]


class Range(BaseModel):
    """Days of a time zone, both ends among them; 400 at most."""

    model_config = ConfigDict(extra="forbid")

    first_day: Day
    last_day: Day
    time_zone: TimeZone = "UTC"

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        if self.last_day < self.first_day:
            raise ValueError("last_day is before first_day")
        if self.days > MOST_DAYS:
            raise ValueError(f"the range has {self.days:,} days, over the limit of {MOST_DAYS}")
        return self

    @property
    def days(self) -> int:
        return (self.last_day - self.first_day).days + 1


class FunnelAsked(Range):
    """Steps are different events, in their order. A subject enters in the range and has `window_seconds` from then on,
    also behind it. With `by_plan` each counts for the plan that was enforced when it entered."""

    steps: Annotated[list[EventName], Field(min_length=1, max_length=MOST_STEPS)]
    window_seconds: Annotated[int, Field(ge=1, le=MOST_DAYS * 86_400)] = 7 * 86_400
    by_plan: bool = False

    @model_validator(mode="after")
    def _has_different_steps(self) -> Self:
        if len(set(self.steps)) < len(self.steps):
            raise ValueError("an event is one step of a funnel, not two")
        return self


class FunnelStep(BaseModel):
    """`of_before` is the share of the subjects of the step before that took this one, `of_all` of those who entered;
    null where there are none."""

    event_name: str
    subjects: int
    of_before: float | None
    of_all: float | None


class Funnel(BaseModel):
    """`plan_id` is null for those who had no plan, and where it was not asked by plan."""

    plan_id: str | None
    steps: list[FunnelStep]


class Funnels(BaseModel):
    data: list[Funnel]


class RetentionAsked(Range):
    """Cohorts are subjects by the day or ISO week of their first `entry_event` in the range. In the period `n` after it
    those came back that have a `return_event` then, not before they entered; by default any that is the `entry_event`
    again."""

    entry_event: EventName
    return_event: EventName | None = None
    unit: Literal["day", "week"] = "week"
    periods: Annotated[int, Field(ge=1, le=60)] = 12


class Cohort(BaseModel):
    """`returned` has one number for each period from 0, that of entering, to the last one that the range reaches. The
    event of entering itself counts where it is what brings back."""

    first_day: date
    subjects: int
    returned: list[int]


class Retention(BaseModel):
    data: list[Cohort]


class AdoptionAsked(Range):
    event_name: EventName


class AdoptionWeek(BaseModel):
    """An ISO week by its Monday. `share` is that of the active subjects who have the event; null without any."""

    first_day: date
    active: int
    adopting: int
    share: float | None


class Adoption(BaseModel):
    data: list[AdoptionWeek]


class SegmentsAsked(Range):
    event_name: EventName


class Segment(BaseModel):
    """A plan that was enforced, null for none. A subject counts in each plan that it had."""

    plan_id: str | None
    events: int
    subjects: int
    share_of_events: float


class Segments(BaseModel):
    data: list[Segment]


class TrendAsked(Range):
    """The band of each day is of the `trailing_days` before it; `width` is in robust standard deviations. Days that are
    not over are left out."""

    event_name: EventName
    trailing_days: Annotated[int, Field(ge=7, le=90)] = 28
    width: Annotated[float, Field(ge=1, le=20, allow_inf_nan=False)] = 3.5


class TrendDay(BaseModel):
    """`low` and `high` bound the band; `verdict` says where the day lies."""

    day: date
    events: int
    median: float
    low: float
    high: float
    verdict: Verdict


class Trend(BaseModel):
    data: list[TrendDay]
    anomalies: int
