"""Retention of analytics: events, what is held back and resolved anomalies go by their age, in bites."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest
from tests.integration.access.analytics.conftest import NOON, AnalyticsDesk, an_event

from datalane.access.analytics.anomalies import resolve_anomaly
from datalane.access.analytics.forgetting import Forgotten, forget_once
from datalane.db.provision import Prepared

KEPT = timedelta(days=400)


@pytest.fixture
async def maintenance(urls: Prepared) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(urls.maintenance_url)
    yield connection
    await connection.close()


async def test_what_is_older_than_it_is_kept_is_forgotten_in_bites(
    desk: AnalyticsDesk, maintenance: asyncpg.Connection
) -> None:
    then, later = replace(desk, now=NOON), replace(desk, now=NOON + timedelta(days=1))
    await then.tell(*(an_event(f"old {number}") for number in range(7)), an_event("old held", {}))
    await later.tell(an_event("new"), an_event("new held", {}))
    end = NOON + KEPT + timedelta(hours=1)
    assert await forget_once(maintenance, end, KEPT, bite=2, bites=2) == Forgotten(4, 1, 0)
    assert await forget_once(maintenance, end, KEPT, bite=2, bites=2) == Forgotten(3, 0, 0)
    assert await forget_once(maintenance, end, KEPT, bite=2, bites=2) == Forgotten()
    assert (await desk.stored(), [each.source_event_id for each in await desk.held()]) == (["new"], ["new held"])
    assert await later.outcomes(an_event("old 1")) == ["accepted"]


async def test_what_was_ahead_of_the_clock_stays_as_long_as_it_would_be_taken_again(
    desk: AnalyticsDesk, maintenance: asyncpg.Connection
) -> None:
    event = an_event("1", occurred_at=NOON + timedelta(hours=20))
    await replace(desk, now=NOON).tell(event)
    forgotten = [await forget_once(maintenance, NOON + KEPT + timedelta(hours=hours), KEPT) for hours in (1, 19, 21)]
    assert [each.analytics_events for each in forgotten] == [0, 0, 1]
    assert await replace(desk, now=NOON + KEPT + timedelta(hours=21)).outcomes(event) == ["quarantined"]


async def test_open_anomalies_stay(desk: AnalyticsDesk, maintenance: asyncpg.Connection) -> None:
    await replace(desk, now=NOON).tell(an_event("1", plan_id="pro"), an_event("2", plan_id="pro"))
    first, second = await desk.anomalies()
    async with desk.database.transaction(desk.operator) as tx:
        await resolve_anomaly(tx, first.anomaly_id, by="me", reason="it was a test", now=NOON)
    end = NOON + KEPT + timedelta(hours=1)
    assert await forget_once(maintenance, end, KEPT) == Forgotten(2, 0, 1)
    assert [anomaly.anomaly_id for anomaly in await desk.anomalies()] == [second.anomaly_id]
