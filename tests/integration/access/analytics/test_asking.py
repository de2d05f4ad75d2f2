"""Questions about events: each answers as a plain model in Python does, in any time zone."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from pydantic import ValidationError
from tests.conftest import a_context
from tests.integration.access.analytics.conftest import HOUR, AnalyticsDesk
from tests.integration.access.conftest import PRO, TRIAL, plans_of

from datalane.access.analytics.asked import (
    AdoptionAsked,
    FunnelAsked,
    Funnels,
    RetentionAsked,
    SegmentsAsked,
    TrendAsked,
)
from datalane.access.analytics.asking import ask_adoption, ask_funnel, ask_retention, ask_segments, ask_trend
from datalane.access.analytics.schemas import NewAnalyticsEvent
from datalane.access.entitlements.plans import register_plans
from datalane.contracts.context import Role
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.errors import LimitExceeded
from datalane.settings import AnalyticsSettings

pytestmark = [pytest.mark.one_database, pytest.mark.usefixtures("plans")]

Events = Sequence[tuple[str, str, datetime]]
"""Subject, name, moment."""
NAMES = ["page.seen", "cart.filled", "order.placed"]
BERLIN = ZoneInfo("Europe/Berlin")
MARCH: dict[str, Any] = {"first_day": date(2031, 3, 1), "last_day": date(2031, 3, 31)}


@pytest.fixture
async def plans(database: Database) -> None:
    await register_plans(database, plans_of(PRO, TRIAL))


@pytest.fixture
async def asker(database: Database) -> AnalyticsDesk:
    """A workspace of its own, which tracks three events."""
    desk = AnalyticsDesk(database, a_context(), now=datetime(2031, 4, 20, tzinfo=UTC))
    for name in NAMES:
        await desk.track(name, schema={})
    return desk


async def store(desk: AnalyticsDesk, events: Events) -> None:
    batch = [
        NewAnalyticsEvent(source_event_id=str(place), event_name=name, occurred_at=at, subject=subject)
        for place, (subject, name, at) in enumerate(events)
    ]
    assert (await desk.tell(*batch)).accepted == len(events)


async def ask(desk: AnalyticsDesk, asking: Any, asked: Any) -> Any:
    async with desk.database.transaction(desk.of(Role.VIEWER).context) as tx:
        said = {"now": desk.now} if asking is ask_trend else {}
        return await asking(tx, asked, desk.settings, **said)


def made(seed: int, count: int = 400) -> Events:
    """Few subjects, and moments that lie close together and around the ends of days and of the range."""
    choice = random.Random(seed)
    start = datetime(2031, 2, 27, tzinfo=UTC)
    return [
        (
            f"subject {choice.randrange(12)}",
            choice.choices(NAMES, [4, 2, 1])[0],
            start + timedelta(hours=choice.randrange(34 * 24)) + timedelta(minutes=choice.choice([0, 0, 15, 59])),
        )
        for _ in range(count)
    ]


def within(events: Events, zone: ZoneInfo) -> list[tuple[str, str, datetime]]:
    """Those of March, by the clock of the zone."""
    local = [(subject, name, at.astimezone(zone)) for subject, name, at in events]
    return [event for event in local if is_of_march(event[2])]


def is_of_march(at: datetime) -> bool:
    return bool(MARCH["first_day"] <= at.date() <= MARCH["last_day"])


def by_hand(events: Events, steps: Sequence[str], patience: timedelta, zone: ZoneInfo) -> list[int]:
    reached = [0] * len(steps)
    subjects = defaultdict(list)
    for subject, name, at in events:
        subjects[subject].append((at, name))
    for told in subjects.values():
        entered = taken = None
        for place, step in enumerate(steps):
            later = [at for at, name in told if name == step and (taken is None or at >= taken)]
            if entered is None:
                later = [at for at in later if is_of_march(at.astimezone(zone))]
            else:
                later = [at for at in later if at <= entered + patience]
            if not later:
                break
            taken = min(later)
            entered = entered or taken
            reached[place] += 1
    return reached


@pytest.mark.parametrize("seed", range(6))
async def test_a_funnel_counts_as_the_model_does(asker: AnalyticsDesk, seed: int) -> None:
    events = made(seed)
    await store(asker, events)
    for steps in (NAMES, NAMES[::-1], NAMES[:1], NAMES[1:]):
        for hours in (1, 24, 24 * 7, 24 * 60):
            for zone in (ZoneInfo("UTC"), BERLIN):
                asked = FunnelAsked(steps=steps, window_seconds=hours * 3600, time_zone=zone.key, **MARCH)
                [funnel] = (await ask(asker, ask_funnel, asked)).data
                expected = by_hand(events, steps, hours * HOUR, zone)
                assert [step.subjects for step in funnel.steps] == expected
                assert funnel.steps[-1].of_all == (expected[-1] / expected[0] if expected[0] else None)


async def test_steps_at_one_moment_count_in_their_order(asker: AnalyticsDesk) -> None:
    noon = datetime(2031, 3, 3, 12, tzinfo=UTC)
    await store(asker, [("ann", name, noon) for name in NAMES] + [("bob", name, noon) for name in NAMES[::2]])
    [funnel] = (await ask(asker, ask_funnel, FunnelAsked(steps=NAMES, **MARCH))).data
    assert [step.subjects for step in funnel.steps] == [2, 1, 1]
    assert [step.of_before for step in funnel.steps] == [None, 0.5, 1.0]


async def test_a_step_at_the_end_of_the_window_counts_and_one_behind_it_does_not(asker: AnalyticsDesk) -> None:
    noon = datetime(2031, 3, 3, 12, tzinfo=UTC)
    late = [("ann", noon + HOUR), ("bob", noon + HOUR + timedelta(microseconds=1))]
    await store(asker, [(who, NAMES[0], noon) for who, _ in late] + [(who, NAMES[1], at) for who, at in late])
    [funnel] = (await ask(asker, ask_funnel, FunnelAsked(steps=NAMES[:2], window_seconds=3600, **MARCH))).data
    assert [step.subjects for step in funnel.steps] == [2, 1]


async def test_who_enters_at_the_end_of_the_range_has_the_whole_window(asker: AnalyticsDesk) -> None:
    midnight = datetime(2031, 4, 1, tzinfo=UTC)
    await store(
        asker,
        [
            ("ann", NAMES[0], midnight - HOUR),
            ("ann", NAMES[1], midnight + HOUR),
            ("ann", NAMES[2], midnight + 23 * HOUR),
            ("bob", NAMES[0], midnight - HOUR),
            ("bob", NAMES[1], midnight + 24 * HOUR),
            ("cid", NAMES[0], midnight),
            ("cid", NAMES[1], midnight + HOUR),
        ],
    )
    asked = FunnelAsked(steps=NAMES, window_seconds=24 * 3600, **MARCH)
    [funnel] = (await ask(asker, ask_funnel, asked)).data
    assert [step.subjects for step in funnel.steps] == [2, 1, 1]


async def test_a_window_is_of_seconds_where_the_clock_of_the_database_changes(asker: AnalyticsDesk) -> None:
    """Berlin loses an hour on 30 March 2031."""
    noon = datetime(2031, 3, 29, 12, tzinfo=UTC)
    await store(asker, [("ann", NAMES[0], noon), ("ann", NAMES[1], noon + 7 * 24 * HOUR)])
    async with asker.database.transaction(asker.of(Role.VIEWER).context) as tx:
        await tx.execute("SET LOCAL TIME ZONE 'Europe/Berlin'")
        [funnel] = (await ask_funnel(tx, FunnelAsked(steps=NAMES[:2], **MARCH))).data
    assert [step.subjects for step in funnel.steps] == [1, 1]


async def test_a_funnel_may_have_ten_steps(asker: AnalyticsDesk) -> None:
    names, noon = [f"step.n{place}" for place in range(10)], datetime(2031, 3, 3, 12, tzinfo=UTC)
    for name in names:
        await asker.track(name, schema={})
    taken = {"ann": names, "bob": names[:7], "cid": [*names[:3], *names[4:]], "dan": names[::-1]}
    await store(
        asker, [(who, name, noon + place * HOUR) for who, told in taken.items() for place, name in enumerate(told)]
    )
    [funnel] = (await ask(asker, ask_funnel, FunnelAsked(steps=names, **MARCH))).data
    assert [step.subjects for step in funnel.steps] == [4, 3, 3, 2, 2, 2, 2, 1, 1, 1]


async def test_a_funnel_splits_by_the_plan_at_entering(asker: AnalyticsDesk) -> None:
    noon = datetime(2031, 3, 3, 12, tzinfo=UTC)
    await asker.assign("trial", noon)
    await asker.assign("pro", noon + 24 * HOUR)
    moments = {"ann": -1, "bob": 1, "cid": 25, "dan": 26}
    await store(
        asker,
        [(who, NAMES[0], noon + after * HOUR) for who, after in moments.items()]
        + [(who, NAMES[1], noon + 30 * HOUR) for who in ("ann", "bob", "cid")],
    )
    found: Funnels = await ask(asker, ask_funnel, FunnelAsked(steps=NAMES[:2], by_plan=True, **MARCH))
    counts = {funnel.plan_id: [step.subjects for step in funnel.steps] for funnel in found.data}
    assert counts == {None: [1, 1], "trial": [1, 1], "pro": [2, 1]}
    segments = await ask(asker, ask_segments, SegmentsAsked(event_name=NAMES[0], **MARCH))
    assert [(each.plan_id, each.events, each.subjects) for each in segments.data] == [
        (None, 1, 1),
        ("pro", 2, 2),
        ("trial", 1, 1),
    ]
    assert sum(each.share_of_events for each in segments.data) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("unit", ["day", "week"])
async def test_retention_counts_as_the_model_does(asker: AnalyticsDesk, seed: int, unit: Any) -> None:
    events = made(seed)
    await store(asker, events)
    for zone in (ZoneInfo("UTC"), BERLIN, ZoneInfo("America/Los_Angeles")):
        days = 7 if unit == "week" else 1

        def period(at: datetime, days: int = days) -> date:
            return at.date() - timedelta(days=at.weekday() if days == 7 else 0)

        entered: dict[str, date] = {}
        back = defaultdict(set)
        for subject, name, at in sorted(within(events, zone), key=lambda event: (event[2], event[1] != NAMES[0])):
            if name == NAMES[0]:
                entered.setdefault(subject, period(at))
            if name == NAMES[1] and subject in entered:
                back[subject].add(period(at))
        asked = RetentionAsked(
            entry_event=NAMES[0], return_event=NAMES[1], unit=unit, periods=5, time_zone=zone.key, **MARCH
        )
        found = await ask(asker, ask_retention, asked)
        assert {cohort.first_day: cohort.subjects for cohort in found.data} == {
            cohort: [*entered.values()].count(cohort) for cohort in entered.values()
        }
        for cohort in found.data:
            who = [subject for subject, at in entered.items() if at == cohort.first_day]
            reached = min(5, (MARCH["last_day"] - cohort.first_day).days // days)
            assert cohort.returned == [
                sum(cohort.first_day + timedelta(days=age * days) in back[subject] for subject in who)
                for age in range(reached + 1)
            ]


@pytest.mark.parametrize(
    ("back", "unit", "returned"),
    [
        (-1, "week", [0, 0]),
        (0, "week", [1, 0]),
        (1, "week", [1, 0]),
        (-1, "day", [0] * 6),
        (1, "day", [1, 0, 0, 0, 0, 0]),
        (24 * 7 - 1, "week", [0, 1]),
    ],
)
async def test_nobody_comes_back_before_entering(
    asker: AnalyticsDesk, back: int, unit: Any, returned: list[int]
) -> None:
    noon = datetime(2031, 3, 26, 12, tzinfo=UTC)
    await store(asker, [("ann", NAMES[0], noon), ("ann", NAMES[0], noon + HOUR), ("ann", NAMES[1], noon + back * HOUR)])
    asked: dict[str, Any] = {**MARCH, "last_day": date(2031, 4, 2) if unit == "week" else date(2031, 3, 31)}
    asked |= {"entry_event": NAMES[0], "return_event": NAMES[1], "unit": unit}
    [cohort] = (await ask(asker, ask_retention, RetentionAsked(**asked))).data
    assert (cohort.subjects, cohort.returned) == (1, returned)


@pytest.mark.parametrize("seed", range(4))
async def test_adoption_counts_as_the_model_does(asker: AnalyticsDesk, seed: int) -> None:
    events = made(seed)
    await store(asker, events)
    for zone in (ZoneInfo("UTC"), BERLIN):
        active, adopting = defaultdict(set), defaultdict(set)
        for subject, name, at in within(events, zone):
            week = at.date() - timedelta(days=at.weekday())
            active[week].add(subject)
            if name == NAMES[2]:
                adopting[week].add(subject)
        found = await ask(asker, ask_adoption, AdoptionAsked(event_name=NAMES[2], time_zone=zone.key, **MARCH))
        assert [week.first_day for week in found.data] == [
            date(2031, 2, 24) + timedelta(days=7 * place) for place in range(6)
        ]
        for week in found.data:
            assert (week.active, week.adopting) == (len(active[week.first_day]), len(adopting[week.first_day]))
            assert week.share == (week.adopting / week.active if week.active else None)


async def test_days_follow_the_clock_of_the_zone_through_its_changes(asker: AnalyticsDesk) -> None:
    """In Berlin 30 March 2031 has 23 hours: it ends at 22:00 UTC."""
    moments = [
        datetime(2031, 3, 29, 22, 59, tzinfo=UTC),
        datetime(2031, 3, 29, 23, tzinfo=UTC),
        datetime(2031, 3, 30, 21, 59, tzinfo=UTC),
        datetime(2031, 3, 30, 22, tzinfo=UTC),
        datetime(2031, 3, 31, 21, 59, tzinfo=UTC),
        datetime(2031, 3, 31, 22, tzinfo=UTC),
    ]
    await store(asker, [("ann", NAMES[0], at) for at in moments])
    said: dict[str, Any] = {"event_name": NAMES[0], "time_zone": "Europe/Berlin", "trailing_days": 7}
    asked = TrendAsked(first_day=date(2031, 3, 29), last_day=date(2031, 3, 31), **said)
    found = await ask(asker, ask_trend, asked)
    assert [(day.day.day, day.events) for day in found.data] == [(29, 1), (30, 2), (31, 2)]
    weeks = await ask(
        asker,
        ask_retention,
        RetentionAsked(
            entry_event=NAMES[0], time_zone="Europe/Berlin", first_day=date(2031, 3, 24), last_day=date(2031, 4, 6)
        ),
    )
    assert [(cohort.first_day, cohort.returned) for cohort in weeks.data] == [(date(2031, 3, 24), [1, 1])]


async def test_a_trend_tells_the_days_that_are_not_as_usual(asker: AnalyticsDesk) -> None:
    day, events = datetime(2031, 2, 1, 12, tzinfo=UTC), []
    for place in range(40):
        events += [("ann", NAMES[0], day + place * 24 * HOUR)] * {36: 40, 38: 0}.get(place, 10)
    await store(asker, events)
    asked = TrendAsked(event_name=NAMES[0], first_day=date(2031, 3, 8), last_day=date(2031, 3, 12), trailing_days=14)
    found = await ask(asker, ask_trend, asked)
    assert [(day.events, day.verdict) for day in found.data] == [
        *((10, "usual"), (40, "high"), (10, "usual"), (0, "usual"), (10, "usual")),
    ]
    assert found.anomalies == 1


@pytest.mark.parametrize(
    ("zone", "hour", "judged"),
    [
        ("UTC", 23, [9, 10, 11]),
        ("UTC", 0, [9, 10, 11]),
        ("Europe/Berlin", 22, [9, 10, 11]),
        ("Europe/Berlin", 23, [9, 10, 11, 12]),
    ],
)
async def test_a_day_that_is_not_over_is_not_judged(
    asker: AnalyticsDesk, zone: str, hour: int, judged: list[int]
) -> None:
    first, now = datetime(2031, 2, 1, 12, tzinfo=UTC), datetime(2031, 3, 12, hour, tzinfo=UTC)
    await store(asker, [("ann", NAMES[0], first + place * 24 * HOUR) for place in range(39) for _ in range(20)])
    said: dict[str, Any] = {"event_name": NAMES[0], "trailing_days": 14, "time_zone": zone}
    asked = TrendAsked(first_day=date(2031, 3, 9), last_day=date(2031, 3, 15), **said)
    async with asker.database.transaction(asker.context) as tx:
        found = await ask_trend(tx, asked, now=now)
        not_yet = await ask_trend(
            tx, TrendAsked(first_day=date(2031, 3, 13), last_day=date(2031, 3, 15), **said), now=now
        )
    assert [day.day.day for day in found.data] == judged
    assert found.anomalies == (1 if 12 in judged else 0)
    assert not_yet.data == []


async def test_nothing_is_answered_as_nothing(asker: AnalyticsDesk) -> None:
    assert [
        step.subjects for step in (await ask(asker, ask_funnel, FunnelAsked(steps=NAMES, **MARCH))).data[0].steps
    ] == [
        *(0, 0, 0),
    ]
    assert (await ask(asker, ask_retention, RetentionAsked(entry_event=NAMES[0], **MARCH))).data == []
    assert (await ask(asker, ask_segments, SegmentsAsked(event_name="no.such", **MARCH))).data == []
    assert (await ask(asker, ask_trend, TrendAsked(event_name=NAMES[0], **MARCH))).anomalies == 0


async def test_another_workspace_is_not_counted(asker: AnalyticsDesk, database: Database) -> None:
    await store(asker, made(1))
    other = AnalyticsDesk(database, a_context())
    [funnel] = (await ask(other, ask_funnel, FunnelAsked(steps=NAMES, **MARCH))).data
    assert [step.subjects for step in funnel.steps] == [0, 0, 0]
    assert {
        week.active for week in (await ask(other, ask_adoption, AdoptionAsked(event_name=NAMES[0], **MARCH))).data
    } == {0}


async def test_a_query_that_takes_too_long_is_ended_and_the_transaction_goes_on(
    asker: AnalyticsDesk, urls: Prepared
) -> None:
    hasty = AnalyticsSettings(query_time=timedelta(milliseconds=50))
    asked = FunnelAsked(steps=NAMES, **MARCH)
    maintenance = await asyncpg.connect(urls.maintenance_url)
    try:
        async with asker.database.transaction(asker.context) as tx:
            async with maintenance.transaction():
                await maintenance.execute("SET LOCAL ROLE datalane_owner; LOCK TABLE datalane.analytics_events")
                with pytest.raises(LimitExceeded, match=r"access\.analytics\.query_time"):
                    await ask_funnel(tx, asked, hasty)
            assert await tx.fetchval("SHOW statement_timeout") == "0"
            assert len((await ask_funnel(tx, asked)).data) == 1
    finally:
        await maintenance.close()


@pytest.mark.parametrize(
    "said",
    [
        {"last_day": date(2031, 2, 1)},
        {"last_day": date(2032, 4, 6)},
        {"steps": []},
        {"steps": ["a.b"] * 2},
        {"steps": [f"a.b{place}" for place in range(11)]},
        {"window_seconds": 0},
        {"time_zone": "Mars/Base"},
        {"time_zone": "../etc/passwd"},
        {"time_zone": "x" * 65},
        {"more": 1},
    ],
)
def test_a_question_out_of_bounds_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FunnelAsked(**{**MARCH, "steps": ["a.b"], **said})
