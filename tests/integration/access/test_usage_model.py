"""Random histories of uses, reservations, corrections and clocks, beside a ledger in plain Python that knows no SQL."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.conftest import a_context
from tests.integration.access.conftest import plans_of

from datalane.access.entitlements.plans import Plan, Quota, register_plans
from datalane.access.entitlements.service import assign_plan
from datalane.access.usage import service
from datalane.contracts.context import Context
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.db.transaction import Transaction
from datalane.engine.registration import register
from datalane.errors import Conflict

BEGIN = datetime(2031, 3, 29, 20, tzinfo=UTC)  # a night before the clocks of Berlin are changed
BERLIN = ZoneInfo("Europe/Berlin")
LIMIT, ROLLS, HOLDS = 20, 7_200, timedelta(days=1)
PLAN = Plan(
    "model",
    (),
    {
        "hour": Quota(LIMIT, "hour"),
        "day": Quota(LIMIT, "day", time_zone="Europe/Berlin"),
        "rolling": Quota(LIMIT, "rolling", seconds=ROLLS),
    },
)


def period_of(quota: str, at: datetime) -> Any:
    if quota == "hour":
        return at.replace(minute=0, second=0, microsecond=0)
    return at.astimezone(BERLIN).date() if quota == "day" else None


@dataclass
class Ledger:
    """What was used, by quota and key, and what is set aside."""

    used: dict[tuple[str, str], tuple[str, int, datetime, Any]] = field(default_factory=dict)
    held: dict[tuple[str, str], tuple[int, datetime, str]] = field(default_factory=dict)
    taken: dict[tuple[str, str], int] = field(default_factory=dict)

    def consumed(self, quota: str, at: datetime) -> int:
        if quota == "rolling":
            since = at - timedelta(seconds=ROLLS)
            return sum(n for (q, _), (_, n, when, _) in self.used.items() if q == quota and when > since)
        mine = period_of(quota, at)
        return sum(n for (q, _), (_, n, _, period) in self.used.items() if q == quota and period == mine)

    def reserved(self, quota: str, at: datetime) -> int:
        mine = period_of(quota, at)
        return sum(
            n for (q, _), (n, when, status) in self.held.items()
            if q == quota and status == "open" and at < when + HOLDS and period_of(quota, when) == mine
        )  # fmt: skip

    def room(self, quota: str, at: datetime) -> int:
        return LIMIT - self.consumed(quota, at) - self.reserved(quota, at)

    def use(self, quota: str, key: str, units: int, at: datetime) -> str:
        name = (quota, key)
        if name in self.used:
            kind, before, _, _ = self.used[name]
            return "replayed" if (kind, before) == ("consume", units) else "conflict"
        if units > self.room(quota, at):
            return "refused"
        self.used[name] = ("consume", units, at, period_of(quota, at))
        return "accepted"

    def reserve(self, quota: str, key: str, units: int, at: datetime) -> str:
        name = (quota, key)
        if name in self.held and (units, "open") == self.held[name][::2] and at < self.held[name][1] + HOLDS:
            return "replayed"
        if name in self.held or name in self.used:
            return "conflict"
        if units > self.room(quota, at):
            return "refused"
        self.held[name] = (units, at, "open")
        return "accepted"

    def commit(self, quota: str, key: str, units: int, at: datetime) -> str:
        name = (quota, key)
        reserved, when, status = self.held[name]
        if status != "open":
            before = self.used.get(name)
            return "replayed" if status == "committed" and before is not None and before[1] == units else "conflict"
        of = at if quota == "rolling" else when
        if units > reserved and units - reserved > self.room(quota, of):
            return "refused"
        if name in self.used:
            return "conflict"  # the key was used meanwhile; it can be released
        self.held[name] = (reserved, when, "committed")
        self.used[name] = ("commit", units, at if quota == "rolling" else when, period_of(quota, when))
        return "accepted"

    def release(self, quota: str, key: str) -> str:
        units, when, status = self.held[quota, key]
        if status == "open":
            self.held[quota, key] = (units, when, "released")
        return "accepted" if status == "open" else "settled"

    def correct(self, quota: str, key: str, units: int, occurred: datetime, at: datetime) -> str:
        name = (quota, key)
        if name in self.used:
            kind, before, _, _ = self.used[name]
            return "replayed" if (kind, self.taken.get(name, before)) == ("correction", units) else "conflict"
        if quota == "rolling" and units < 0:
            return self.take_back(key, -units, occurred, at)
        of = at if quota == "rolling" else occurred
        counts = quota != "rolling" or occurred > at - timedelta(seconds=ROLLS)
        if counts and self.consumed(quota, of) + units < 0:
            return "conflict"
        self.used[name] = ("correction", units, occurred, period_of(quota, occurred))
        return "accepted"

    def take_back(self, key: str, units: int, occurred: datetime, at: datetime) -> str:
        """From a rolling window: what is taken leaves it with the uses that it was taken from, the last ones first."""
        since = at - timedelta(seconds=ROLLS)
        if occurred <= since or self.consumed("rolling", at) < units:
            return "conflict"
        nets: dict[datetime, int] = {}
        for (quota, _), (_, number, when, _) in self.used.items():
            if quota == "rolling" and when > since:
                nets[when] = nets.get(when, 0) + number
        left, self.taken["rolling", key] = units, -units
        for place, when in enumerate(sorted((each for each, net in nets.items() if net > 0), reverse=True), 1):
            part = min(left, nets[when])
            if part:
                name = ("rolling", key if place == 1 else f"{key}\x1f{place}")
                self.used[name] = ("correction", -part, when, None)
            left -= part
        return "accepted"


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["use", "use", "use", "reserve", "commit", "release", "correct"]),
        st.sampled_from(["hour", "day", "rolling"]),
        st.integers(0, 7),  # the key
        st.integers(1, 12),  # units
        st.sampled_from([0, 0, 60, 600, 1_800, 3_600, 7_200, 40_000]),  # seconds later
        st.sampled_from([0, 0, 300, 5_000]),  # seconds ago, of a correction
    ),
    min_size=12,
    max_size=40,
)


async def tell(work: Any) -> str:
    try:
        answer = await work
    except Conflict:
        return "conflict"
    if isinstance(answer, bool):
        return "accepted" if answer else "settled"
    told: str = answer.outcome
    return told


@dataclass(frozen=True)
class Step:
    """One act at a moment, and the same for the ledger in Python."""

    act: str
    quota: str
    key: str
    units: int
    occurred: datetime
    at: datetime

    async def ours(self, tx: Transaction) -> Any:
        said: dict[str, Any] = {"idempotency_key": self.key, "now": self.at}
        if self.act == "use":
            return await service.use(tx, self.quota, self.units, **said)
        if self.act == "reserve":
            return await service.reserve(tx, self.quota, self.units, lasts=HOLDS, **said)
        if self.act == "commit":
            return await service.commit(tx, self.quota, self.units, **said)
        if self.act == "release":
            return await service.release(tx, self.quota, **said)
        return await service.correct(tx, self.quota, self.units, "model", occurred_at=self.occurred, **said)

    def theirs(self, ledger: Ledger) -> str:
        if self.act == "release":
            return ledger.release(self.quota, self.key)
        if self.act == "correct":
            return ledger.correct(self.quota, self.key, self.units, self.occurred, self.at)
        told: str = getattr(ledger, self.act)(self.quota, self.key, self.units, self.at)
        return told


async def follow(database: Database, steps: list[tuple[str, str, int, int, int, int]]) -> int:
    """Take the steps; how many were not left out."""
    taken = 0
    system, ledger, at = Context.system(a_context().workspace_id), Ledger(), BEGIN
    async with database.transaction(system) as tx:
        await assign_plan(tx, "model", now=BEGIN - timedelta(days=1))
    for act, quota, number, units, later, ago in steps:
        at, key = at + timedelta(seconds=later), f"key {number}"
        held = ledger.held.get((quota, key))
        if act in {"commit", "release"} and (held is None or held[1] + HOLDS <= at):
            continue
        signed = -units if act == "correct" and number % 2 else units
        step = Step(act, quota, key, signed, at - timedelta(seconds=ago), at)
        async with database.transaction(system) as tx:
            told = await tell(_in_savepoint(tx, step))
        assert told == step.theirs(ledger), step
        async with database.transaction(system) as tx:
            shown = {each.quota_key: each for each in (await service.list_counters(tx, at)).data}
            assert await service.find_differences(tx) == []
        for name, counter in shown.items():
            assert counter.consumed_units == ledger.consumed(name, at), (name, step)
            assert counter.reserved_units == ledger.reserved(name, at), (name, step)
        taken += 1
    return taken


async def _in_savepoint(tx: Transaction, step: Step) -> Any:
    async with tx.savepoint():
        return await step.ours(tx)


def run_histories(urls: Prepared, examples: int) -> int:
    """How many steps were taken."""
    taken: list[int] = []
    with asyncio.Runner() as runner:
        database = runner.run(_open(urls))

        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=examples < 100,
            phases=[Phase.generate, Phase.shrink],
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
        )
        @given(STEPS)
        def histories(steps: list[tuple[str, str, int, int, int, int]]) -> None:
            taken.append(runner.run(follow(database, steps)))

        try:
            histories()
        finally:
            runner.run(database.close())
    return sum(taken)


async def _open(urls: Prepared) -> Database:
    database = await Database.connect(urls.database_url, size=1)
    await register(database, {}, [], list(EVENTS))
    await register_plans(database, plans_of(PLAN))
    return database


def test_random_histories_agree_with_a_ledger_in_plain_python(urls: Prepared) -> None:
    assert run_histories(urls, 80) > 800


@pytest.mark.soak
def test_many_random_histories_agree_with_a_ledger_in_plain_python(urls: Prepared) -> None:
    assert run_histories(urls, 300) > 3_000
