"""Tracked events, events and anomalies in the world of the route proof."""

from __future__ import annotations

from typing import Any

from datalane.ops.isolation.analytics_seeds import (
    ELSEWHERE,
    FIRST_HELD,
    HELD,
    LOST,
    PAID,
    SEEN,
    TOLD,
    event_of,
    version_of,
)
from datalane.ops.isolation.route_agents import AgentsMaker
from datalane.ops.isolation.route_table import Call
from datalane.ops.isolation.route_world import OTHER, Space


class AnalyticsMaker(AgentsMaker):
    async def add_analytics(self, space: Space) -> None:
        """Two tracked events; three events that are stored, two of them with an anomaly, and three that are held back,
        one since only the other workspace tracks it. That one has more tracked events, and tells of more."""
        if "POST /billing/analytics-events" not in self.routes:
            return
        word, more = space.word, space.word == OTHER
        for name in (SEEN, PAID, *([ELSEWHERE, LOST] if more else [])):
            body = version_of(word, name)
            await self.make(space, "POST /analytics/tracking-plan/register", Call(body=body))
        saw = {"plan_id": f"a plan of {word}"}
        events: list[dict[str, Any]] = [
            event_of(word, f"first of {word}", **saw),
            event_of(word, f"second of {word}", **saw),
            event_of(word, f"third of {word}", PAID),
            event_of(word, FIRST_HELD, payload={}),
            event_of(word, f"second held of {word}", payload={}),
            event_of(word, f"lost of {word}", LOST),
        ]
        if more:
            events += [event_of(word, TOLD), event_of(word, f"{TOLD} too", PAID), event_of(word, HELD, payload={})]
        await self.make(space, "POST /billing/analytics-events", Call(body={"events": events}))
        listed = await self.make(space, "GET /billing/integrity-anomalies", Call())
        space.things["anomaly_id"] = listed["data"][0]["anomaly_id"]
