"""Questions about events: funnels, retention, adoption, segments and trends.

Each is one statement that reads indexes of the workspace's events and nothing else. It is planned anew for the values
that are asked for, by as many workers as the database gives, and ends after `access.analytics.query_time`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import asyncpg

from datalane.access.analytics.asked import (
    MOST_STEPS,
    Adoption,
    AdoptionAsked,
    AdoptionWeek,
    Cohort,
    Funnel,
    FunnelAsked,
    Funnels,
    FunnelStep,
    Range,
    Retention,
    RetentionAsked,
    Segment,
    Segments,
    SegmentsAsked,
    Trend,
    TrendAsked,
)
from datalane.access.analytics.trends import judge_days
from datalane.access.permissions import READ_ANALYTICS
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import InvalidInput, LimitExceeded
from datalane.kit.clock import utc_now
from datalane.settings import AnalyticsSettings

USUAL = AnalyticsSettings()
_WEEK = timedelta(days=7)
_STEP = re.compile(r"\), took_2 AS .*?\n(?=\), taken)|    UNION ALL SELECT 2, .*?\n", re.DOTALL)
_NUMBER = re.compile(r"(?<=took_)[12]|(?<=\[)2(?=\])|(?<=SELECT )2")


def _write_out(text: str) -> str:
    """The step behind the first as often as a funnel may have one, each beside the one before it."""

    def written(part: str, step: int) -> str:
        return _NUMBER.sub(lambda number: str(int(number[0]) + step - 2), part)

    return _STEP.sub(lambda part: "".join(written(part[0], step) for step in range(2, MOST_STEPS + 1)), text)


_queries = load_queries(__file__, "asking.sql")
_funnel_queries = load_queries(__file__, "funnel.sql", _write_out)


async def ask_funnel(tx: Transaction, asked: FunnelAsked, analytics: AnalyticsSettings = USUAL) -> Funnels:
    """How many subjects came to each step: one enters with its first event of the first step in the range, and takes
    each other step with its first event of that step at or after the step before, while the window of time since it
    entered is open, behind the range too. Raises `LimitExceeded` where it takes too long."""
    async with _asking(tx, analytics):
        rows = await _funnel_queries.count_funnel(
            tx.connection,
            workspace_id=tx.workspace_id,
            steps=asked.steps,
            **_span(asked),
            seconds=asked.window_seconds,
            by_plan=asked.by_plan,
        )
    counts: dict[str | None, dict[int, int]] = defaultdict(dict)
    for row in rows:
        counts[row["plan_id"]][row["step"]] = row["subjects"]
    if not counts and not asked.by_plan:
        counts[None] = {}
    return Funnels(data=[_funnel(plan_id, asked.steps, taken) for plan_id, taken in counts.items()])


async def ask_retention(tx: Transaction, asked: RetentionAsked, analytics: AnalyticsSettings = USUAL) -> Retention:
    """Who came back, by cohort. Raises as `ask_funnel`."""
    days = 7 if asked.unit == "week" else 1
    async with _asking(tx, analytics):
        rows = await _queries.count_cohorts(
            tx.connection,
            workspace_id=tx.workspace_id,
            entry_event=asked.entry_event,
            return_event=asked.return_event or asked.entry_event,
            unit=asked.unit,
            days=days,
            ages=asked.periods,
            **_span(asked),
            time_zone=asked.time_zone,
        )
    sizes = {row["cohort"]: row["subjects"] for row in rows if row["age"] is None}
    returned = {(row["cohort"], row["age"]): row["subjects"] for row in rows}

    def counts(cohort: date) -> list[int]:
        reached = min(asked.periods, (asked.last_day - cohort).days // days)
        return [returned.get((cohort, age), 0) for age in range(reached + 1)]

    return Retention(
        data=[
            Cohort(first_day=cohort, subjects=subjects, returned=counts(cohort)) for cohort, subjects in sizes.items()
        ]
    )


async def ask_adoption(tx: Transaction, asked: AdoptionAsked, analytics: AnalyticsSettings = USUAL) -> Adoption:
    """Which share of those who are active in a week have an event then. Raises as `ask_funnel`."""
    async with _asking(tx, analytics):
        rows = await _queries.count_weeks(
            tx.connection,
            workspace_id=tx.workspace_id,
            event_name=asked.event_name,
            **_span(asked),
            time_zone=asked.time_zone,
        )
    counts = {row["week"]: (row["active"], row["adopting"]) for row in rows}
    week, weeks = asked.first_day - timedelta(days=asked.first_day.weekday()), []
    while week <= asked.last_day:
        active, adopting = counts.get(week, (0, 0))
        share = adopting / active if active else None
        weeks.append(AdoptionWeek(first_day=week, active=active, adopting=adopting, share=share))
        week += _WEEK
    return Adoption(data=weeks)


async def ask_segments(tx: Transaction, asked: SegmentsAsked, analytics: AnalyticsSettings = USUAL) -> Segments:
    """An event by the plans that were enforced. Raises as `ask_funnel`."""
    async with _asking(tx, analytics):
        rows = await _queries.count_plans(
            tx.connection, workspace_id=tx.workspace_id, event_name=asked.event_name, **_span(asked)
        )
    total = sum(row["events"] for row in rows)
    return Segments(data=[Segment(**row, share_of_events=row["events"] / total) for row in rows])


async def ask_trend(
    tx: Transaction, asked: TrendAsked, analytics: AnalyticsSettings = USUAL, now: datetime | None = None
) -> Trend:
    """Which days are not as those before them (`judge_day`). A day that is not over has no count yet and is left out.
    Raises as `ask_funnel`."""
    READ_ANALYTICS.check(tx.context)
    over = (now or utc_now()).astimezone(ZoneInfo(asked.time_zone)).date() - timedelta(days=1)
    last_day = min(asked.last_day, over)
    if last_day < asked.first_day:
        return Trend(data=[], anomalies=0)
    first_day = asked.first_day - timedelta(days=asked.trailing_days)
    before = asked.model_copy(update={"first_day": first_day, "last_day": last_day})
    async with _asking(tx, analytics):
        rows = await _queries.count_days(
            tx.connection,
            workspace_id=tx.workspace_id,
            event_name=asked.event_name,
            **_span(before),
            time_zone=asked.time_zone,
        )
    counts = {row["day"]: row["events"] for row in rows}
    days = judge_days(counts, asked.first_day, last_day, asked.trailing_days, asked.width)
    return Trend(data=days, anomalies=sum(day.verdict != "usual" for day in days))


@asynccontextmanager
async def _asking(tx: Transaction, analytics: AnalyticsSettings) -> AsyncIterator[None]:
    """What is set for the statement is undone behind it, since it writes nothing."""
    READ_ANALYTICS.check(tx.context)
    milliseconds = max(1, round(analytics.query_time.total_seconds() * 1000))
    await tx.execute(
        f"SAVEPOINT analytics; SET LOCAL statement_timeout = {milliseconds}; SET LOCAL jit = off; "
        "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL work_mem = '64MB'"
    )
    try:
        yield
    except asyncpg.QueryCanceledError as error:
        raise LimitExceeded(
            f"the query took more than {analytics.query_time.total_seconds():g} s (access.analytics.query_time); ask "
            "for fewer days, or for an event that is rarer"
        ) from error
    except asyncpg.InvalidParameterValueError as error:
        raise InvalidInput(f"the database does not know this time zone: {error}") from error
    finally:
        await tx.execute("ROLLBACK TO SAVEPOINT analytics; RELEASE SAVEPOINT analytics")


def _span(asked: Range) -> dict[str, datetime]:
    """From the midnight that begins the first day to the one that ends the last."""
    zone = ZoneInfo(asked.time_zone)
    return {
        "since": datetime.combine(asked.first_day, time(), zone),
        "until": datetime.combine(asked.last_day + timedelta(days=1), time(), zone),
    }


def _funnel(plan_id: str | None, names: list[str], taken: dict[int, int]) -> Funnel:
    steps: list[FunnelStep] = []
    for place, name in enumerate(names, start=1):
        subjects, before = taken.get(place, 0), steps[-1].subjects if steps else None
        steps.append(
            FunnelStep(
                event_name=name,
                subjects=subjects,
                of_before=subjects / before if before else None,
                of_all=subjects / taken[1] if taken.get(1) else None,
            )
        )
    return Funnel(plan_id=plan_id, steps=steps)
