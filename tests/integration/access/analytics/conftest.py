"""What tests do with analytics: every method is a transaction of its own, as the desk's context.

`NOON` is over, so that members need not say what time it is. A desk with a `now` acts as the lane itself, which alone
may say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from datalane.access.analytics import anomalies, quarantine, service, tracking
from datalane.access.analytics.schemas import (
    AnalyticsEvent,
    AnalyticsFilter,
    AnalyticsOutcomes,
    EventRepair,
    EventReplay,
    HeldFilter,
    IntegrityAnomaly,
    NewAnalyticsEvent,
    NewTrackingVersion,
    QuarantinedEvent,
    QuarantineStatus,
    ReplayedEvents,
    TrackingRetirement,
)
from datalane.access.entitlements.service import assign_plan
from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.kit.clock import utc_now
from datalane.settings import AnalyticsSettings

NOON = datetime.combine(utc_now() - timedelta(days=3), time(12), UTC)
HOUR = timedelta(hours=1)
SIGNED_UP = {
    "type": "object",
    "properties": {"source": {"type": "string"}, "seats": {"type": "integer"}},
    "required": ["source"],
    "additionalProperties": False,
}


def an_event(source_event_id: str, payload: Any = None, **said: Any) -> NewAnalyticsEvent:
    """One of `signup.completed`, which is valid unless something else is said."""
    usual = {"event_name": "signup.completed", "occurred_at": NOON, "subject": "ann"}
    payload = {"source": "ad"} if payload is None else payload
    return NewAnalyticsEvent(**{**usual, "source_event_id": source_event_id, "payload": payload, **said})


@dataclass
class AnalyticsDesk:
    database: Database
    context: Context
    settings: AnalyticsSettings = field(default_factory=AnalyticsSettings)
    now: datetime | None = None

    def of(self, role: Role) -> AnalyticsDesk:
        return replace(self, context=replace(self.context, role=role))

    @property
    def admin(self) -> AnalyticsDesk:
        return self.of(Role.ADMIN)

    @property
    def acting(self) -> Context:
        return self.context if self.now is None else replace(self.context, role=Role.SYSTEM)

    @property
    def operator(self) -> Context:
        return Context.system(self.context.workspace_id)

    async def track(self, name: str = "signup.completed", version: int = 1, schema: Any = None) -> None:
        new = NewTrackingVersion(
            event_name=name, event_version=version, json_schema=SIGNED_UP if schema is None else schema, owner="growth"
        )
        async with self.database.transaction(self.admin.context) as tx:
            await tracking.register_version(tx, new, self.now)

    async def retire(self, name: str = "signup.completed", version: int = 1) -> None:
        told = TrackingRetirement(event_name=name, event_version=version, reason="nobody sends it")
        async with self.database.transaction(self.admin.context) as tx:
            await tracking.retire_version(tx, told, self.now)

    async def assign(self, plan_id: str, at: datetime, **said: Any) -> None:
        async with self.database.transaction(self.operator) as tx:
            await assign_plan(tx, plan_id, now=at, **said)

    async def tell(self, *events: NewAnalyticsEvent) -> AnalyticsOutcomes:
        async with self.database.transaction(self.acting) as tx:
            return await service.record_events(tx, events, self.settings, self.now)

    async def outcomes(self, *events: NewAnalyticsEvent) -> list[str]:
        return [each.outcome for each in (await self.tell(*events)).data]

    async def events(self, **asked: Any) -> list[AnalyticsEvent]:
        async with self.database.transaction(self.context) as tx:
            return (await service.list_events(tx, AnalyticsFilter(**asked), page_size=100)).data

    async def stored(self) -> list[str]:
        return sorted(each.source_event_id for each in await self.events() if not each.quarantined)

    async def held(self, status: QuarantineStatus = "held") -> list[QuarantinedEvent]:
        async with self.database.transaction(self.context) as tx:
            return (await quarantine.list_held(tx, status, page_size=100)).data

    async def repair(self, source_event_id: str, version: int = 1, **said: Any) -> QuarantinedEvent:
        repair = EventRepair(source_event_id=source_event_id, version=version, note="a typo of the client", **said)
        async with self.database.transaction(self.acting) as tx:
            return await quarantine.repair_event(tx, repair, self.settings, self.now)

    async def replay(self, ids: Sequence[str] | None = None, dry_run: bool = False) -> ReplayedEvents:
        asked = EventReplay(filter=HeldFilter(source_event_ids=None if ids is None else [*ids]), dry_run=dry_run)
        async with self.database.transaction(self.acting) as tx:
            return await quarantine.replay_events(tx, asked, self.settings, self.now)

    async def anomalies(self) -> list[IntegrityAnomaly]:
        async with self.database.transaction(self.context) as tx:
            return (await anomalies.list_anomalies(tx, page_size=100)).data


@pytest.fixture
async def desk(database: Database, context: Context) -> AnalyticsDesk:
    """A member of a workspace that tracks `signup.completed`."""
    desk = AnalyticsDesk(database, context)
    await desk.track()
    return desk
