"""Where a client saw another plan than the one that was enforced, that shows: once per event, and with some patience
for clocks near a change."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.integration.access.analytics.conftest import HOUR, NOON, AnalyticsDesk, an_event
from tests.integration.access.conftest import PRO, TRIAL, plans_of

from datalane.access.analytics.anomalies import get_anomaly, list_anomalies, resolve_anomaly
from datalane.access.entitlements.plans import register_plans
from datalane.contracts.context import Role
from datalane.db.database import Database
from datalane.engine.audit import list_records
from datalane.errors import Conflict, Forbidden, NotFound
from datalane.kit.ids import uuid7
from datalane.settings import AnalyticsSettings

pytestmark = [pytest.mark.one_database, pytest.mark.usefixtures("plans")]

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def plans(database: Database) -> None:
    await register_plans(database, plans_of(PRO, TRIAL))


@pytest.fixture
async def changed(desk: AnalyticsDesk) -> AnalyticsDesk:
    """Its workspace has had `trial` since yesterday and `pro` since noon, which expires at midnight."""
    await desk.assign("trial", NOON - 24 * HOUR)
    await desk.assign("pro", NOON, expires_at=NOON + 12 * HOUR)
    return desk


def at(minutes: float, key: str = "1", **said: Any) -> Any:
    return an_event(key, occurred_at=NOON + minutes * MINUTE, **said)


async def test_an_event_has_the_plan_that_was_enforced_when_it_happened(changed: AnalyticsDesk) -> None:
    moments = [-3 * 24 * 60, -1, 0, 1, 12 * 60 - 1, 12 * 60, 15 * 60]
    await changed.tell(*(at(moment, str(place)) for place, moment in enumerate(moments)))
    events = sorted(await changed.events(), key=lambda event: event.source_event_id)
    assert [event.plan_id for event in events] == [None, "trial", "pro", "pro", "pro", "pro", "pro"]
    assert [event.entitlement_snapshot and event.entitlement_snapshot.features for event in events[:3]] == [
        [],
        ["search"],
        ["reports.export", "search"],
    ]
    assert events[2].entitlement_snapshot is not None
    assert events[2].entitlement_snapshot.model_dump() == {
        "plan_id": "pro",
        "plan_version": 1,
        "status": "enabled",
        "features": ["reports.export", "search"],
    }
    assert await changed.anomalies() == []


@pytest.mark.parametrize(
    ("minutes", "said", "differs"),
    [
        (60, {"plan_id": "pro"}, None),
        (60, {"entitlement_snapshot": {"features": ["search", "reports.export", "search"]}}, None),
        (60, {"entitlement_snapshot": {"plan_id": "pro", "plan_version": 1, "status": "enabled"}}, None),
        (60, {"plan_id": "trial"}, ["plan_id"]),
        (60, {"plan_id": "no such plan"}, ["plan_id"]),
        (60, {"entitlement_snapshot": {"plan_id": None}}, ["plan_id"]),
        (60, {"plan_id": "pro", "entitlement_snapshot": {"features": ["search"]}}, ["features"]),
        (60, {"plan_id": "pro", "entitlement_snapshot": {"features": ["search", "reports.export", "x"]}}, ["features"]),
        (60, {"plan_id": "trial", "entitlement_snapshot": {"status": "grace"}}, ["plan_id", "status"]),
        (60, {"entitlement_snapshot": {"plan_version": 2}}, ["plan_version"]),
        (4, {"plan_id": "trial"}, None),
        (5, {"plan_id": "trial"}, ["plan_id"]),
        (-5, {"plan_id": "pro"}, None),
        (-5.1, {"plan_id": "pro"}, ["plan_id"]),
        (2, {"plan_id": "trial", "entitlement_snapshot": {"features": ["reports.export", "search"]}}, ["plan_id"]),
        (12 * 60 + 2, {"plan_id": "pro"}, None),
        (12 * 60 - 2, {"entitlement_snapshot": {"plan_id": "pro", "status": "disabled", "features": []}}, None),
        (13 * 60, {"plan_id": "pro"}, None),
        (13 * 60, {"entitlement_snapshot": {"plan_id": "pro", "status": "enabled"}}, ["status"]),
        (13 * 60, {"entitlement_snapshot": {"plan_id": None}}, ["plan_id"]),
        (2 - 24 * 60, {"entitlement_snapshot": {"plan_id": None, "features": []}}, None),
        (6 - 24 * 60, {"entitlement_snapshot": {"plan_id": None}}, ["plan_id"]),
        (-3 * 24 * 60, {"entitlement_snapshot": {"plan_id": None, "features": []}}, None),
        (-3 * 24 * 60, {"plan_id": "trial"}, ["plan_id"]),
    ],
)
async def test_what_a_client_saw_is_compared_with_what_was_enforced_near_it(
    changed: AnalyticsDesk, minutes: float, said: dict[str, Any], differs: list[str] | None
) -> None:
    told = await changed.tell(at(minutes, **said))
    found = await changed.anomalies()
    assert (told.accepted, told.anomalies, told.data[0].anomaly) == (1, len(found), bool(found))
    assert [anomaly.differs for anomaly in found] == ([] if differs is None else [differs])


async def test_an_anomaly_says_what_was_expected_and_what_was_seen(changed: AnalyticsDesk) -> None:
    await changed.tell(at(60, plan_id="trial"))
    [anomaly] = await changed.anomalies()
    assert anomaly.model_dump(exclude={"anomaly_id", "detected_at"}) == {
        "source_event_id": "1",
        "event_name": "signup.completed",
        "expected_plan_id": "pro",
        "observed_plan_id": "trial",
        "expected_snapshot": {
            "plan_id": "pro",
            "plan_version": 1,
            "status": "enabled",
            "features": ["reports.export", "search"],
        },
        "observed_snapshot": {"plan_id": "trial"},
        "differs": ["plan_id"],
        "correlation_id": changed.context.correlation_id,
        "occurred_at": NOON + HOUR,
        "status": "open",
        "resolved_at": None,
        "resolved_by": None,
        "resolution": None,
    }


async def test_the_tolerance_is_a_setting(changed: AnalyticsDesk) -> None:
    strict = replace(changed, settings=AnalyticsSettings(snapshot_tolerance=timedelta(seconds=1)))
    patient = replace(changed, settings=AnalyticsSettings(snapshot_tolerance=timedelta(hours=2)))
    assert (await patient.tell(at(60, "1", plan_id="trial"))).anomalies == 0
    assert (await strict.tell(at(1, "2", plan_id="trial"))).anomalies == 1


async def test_an_event_has_one_anomaly_however_often_it_comes(changed: AnalyticsDesk) -> None:
    await asyncio.gather(*(changed.tell(at(60, plan_id="trial"), at(61, "2", plan_id="trial")) for _ in range(6)))
    assert sorted(anomaly.source_event_id for anomaly in await changed.anomalies()) == ["1", "2"]


async def test_an_event_that_is_mended_has_its_anomaly_when_it_lands(changed: AnalyticsDesk) -> None:
    await changed.tell(at(60, payload={}, plan_id="trial"))
    assert await changed.anomalies() == []
    admin = changed.admin
    await admin.repair("1", payload={"source": "ad"})
    replayed = [await admin.replay() for _ in range(2)]
    assert [each.anomalies for each in replayed] == [1, 0]
    assert [anomaly.source_event_id for anomaly in await changed.anomalies()] == ["1"]


async def test_a_disabled_plan_is_not_the_enabled_one(changed: AnalyticsDesk) -> None:
    await changed.assign("pro", NOON + HOUR, status="disabled")
    told = await changed.tell(
        at(120, "1", entitlement_snapshot={"plan_id": "pro", "status": "enabled"}),
        at(120, "2", entitlement_snapshot={"plan_id": "pro", "status": "disabled"}),
    )
    assert [each.anomaly for each in told.data] == [True, False]


async def test_the_operator_alone_resolves_an_anomaly_once_and_with_a_reason(changed: AnalyticsDesk) -> None:
    await changed.tell(at(60, plan_id="trial"))
    [anomaly] = await changed.anomalies()
    database, known = changed.database, anomaly.anomaly_id
    said: dict[str, Any] = {"by": "operator", "reason": "an old page that was open"}
    for role in (Role.VIEWER, Role.OWNER):
        with pytest.raises(Forbidden):
            async with database.transaction(changed.of(role).context) as tx:
                await resolve_anomaly(tx, known, **said)
        with pytest.raises(Forbidden):
            async with database.transaction(changed.of(role).context) as tx:
                await tx.execute("SELECT datalane.resolve_integrity_anomaly($1, 'me', 'because')", known)
    async with database.transaction(changed.operator) as tx:
        resolved = await resolve_anomaly(tx, known, **said, now=NOON)
    assert (resolved.status, resolved.resolved_by, resolved.resolution, resolved.resolved_at) == (
        *("resolved", *said.values()),
        NOON,
    )
    for again, error in ((known, Conflict), (uuid7(), NotFound)):
        with pytest.raises(error):
            async with database.transaction(changed.operator) as tx:
                await resolve_anomaly(tx, again, **said)
    async with database.transaction(changed.of(Role.OWNER).context) as tx:
        records = await list_records(tx)
        assert await get_anomaly(tx, known) == resolved
        assert (await list_anomalies(tx, status="open")).data == []
        assert (await list_anomalies(tx, status="resolved", plan_id="trial")).data == [resolved]
        assert (await list_anomalies(tx, plan_id="other")).data == []
    assert "integrity_anomaly.resolved" in [each.action for each in records]


async def test_an_event_that_is_ahead_of_the_clock_has_the_plan_that_was_enforced_when_it_came(
    changed: AnalyticsDesk,
) -> None:
    ahead = replace(changed, now=NOON + 6 * HOUR)
    await ahead.tell(at(14 * 60, plan_id="pro"))
    [event] = await changed.events()
    assert event.entitlement_snapshot is not None
    assert (event.plan_id, event.entitlement_snapshot.status) == ("pro", "enabled")
    assert await changed.anomalies() == []
