"""Routes of analytics: `/billing/*` for events and anomalies, `/analytics/*` for the plan, mending and questions."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from datalane.access.analytics import anomalies, asked, asking, quarantine, service, tracking
from datalane.access.analytics.schemas import (
    AnalyticsEventPage,
    AnalyticsFilter,
    AnalyticsOutcomes,
    AnalyticsTold,
    AnomalyStatus,
    DiscardedEvents,
    EventDiscard,
    EventName,
    EventRepair,
    EventReplay,
    IntegrityAnomaly,
    IntegrityAnomalyPage,
    NewAnalyticsEvents,
    NewTrackingVersion,
    PlanId,
    QuarantinedEvent,
    QuarantinePage,
    QuarantineStatus,
    RegisteredTrackingVersion,
    ReplayedEvents,
    Subject,
    TrackingPlanPage,
    TrackingRetirement,
    TrackingVersion,
    ValidationStatus,
)
from datalane.access.permissions import MANAGE_TRACKING, MEND_ANALYTICS, READ_ANALYTICS, RECORD_ANALYTICS
from datalane.contracts.http import Door
from datalane.contracts.plans import Plans
from datalane.contracts.storable import Moment
from datalane.db.transaction import Transaction

_WAS_THERE: dict[int | str, dict[str, Any]] = {200: {"model": RegisteredTrackingVersion, "description": "It was there"}}
PageSize = Annotated[int, Query(ge=1, le=100)]


def add_analytics_routes(routes: APIRouter, door: Door) -> None:
    billing = door.router(prefix="/billing", tags=["analytics"])
    _add_events(billing, door)
    _add_anomalies(billing, door)
    routes.include_router(billing)
    analytics = door.router(prefix="/analytics", tags=["analytics"])
    _add_tracking(analytics, door)
    _add_quarantine(analytics, door)
    _add_queries(analytics, door)
    routes.include_router(analytics)


def _add_events(routes: APIRouter, door: Door) -> None:
    settings = door.settings.access.analytics

    @routes.post("/analytics-events")
    async def record(body: AnalyticsTold, tx: Transaction = door.writer(RECORD_ANALYTICS)) -> AnalyticsOutcomes:
        """Tell of one event or of up to 1,000. What is not valid is held back; the answer says so of each."""
        events = body.events if isinstance(body, NewAnalyticsEvents) else [body]
        return await service.record_events(tx, events, settings)

    @routes.get("/analytics-events")
    async def list_events(
        event_name: EventName | None = None,
        status: ValidationStatus | None = None,
        subject: Subject | None = None,
        actor_id: UUID | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        cursor: str | None = None,
        page_size: PageSize = 25,
        tx: Transaction = door.reader(READ_ANALYTICS, plans=Plans.OWN),
    ) -> AnalyticsEventPage:
        """Events and those that are held back, the last to happen first."""
        asked_for = AnalyticsFilter(
            event_name=event_name, status=status, subject=subject, actor_id=actor_id, since=since, until=until
        )
        return await service.list_events(tx, asked_for, cursor, page_size)


def _add_anomalies(routes: APIRouter, door: Door) -> None:
    @routes.get("/integrity-anomalies")
    async def list_anomalies(
        status: AnomalyStatus | None = None,
        event_name: EventName | None = None,
        plan_id: PlanId | None = None,
        cursor: str | None = None,
        page_size: PageSize = 25,
        tx: Transaction = door.reader(READ_ANALYTICS, plans=Plans.OWN),
    ) -> IntegrityAnomalyPage:
        """Events whose client saw another plan than the one that was enforced, the last to be detected first."""
        return await anomalies.list_anomalies(tx, status, event_name, plan_id, cursor, page_size)

    @routes.get("/integrity-anomalies/{anomaly_id}")
    async def get_anomaly(anomaly_id: UUID, tx: Transaction = door.reader(READ_ANALYTICS)) -> IntegrityAnomaly:
        """One anomaly."""
        return await anomalies.get_anomaly(tx, anomaly_id)


def _add_tracking(routes: APIRouter, door: Door) -> None:
    @routes.post("/tracking-plan/register", status_code=201, responses=_WAS_THERE)
    async def register(
        body: NewTrackingVersion, response: Response, tx: Transaction = door.writer(MANAGE_TRACKING)
    ) -> RegisteredTrackingVersion:
        """Track a version of an event: 201 when it is new, 200 when it was there with this schema."""
        registered = await tracking.register_version(tx, body)
        response.status_code = 201 if registered.created else 200
        return registered

    @routes.post("/tracking-plan/retire")
    async def retire(body: TrackingRetirement, tx: Transaction = door.writer(MANAGE_TRACKING)) -> TrackingVersion:
        """Hold events of this version back from now on."""
        return await tracking.retire_version(tx, body)

    @routes.get("/tracking-plan/list")
    async def list_versions(
        event_name: EventName | None = None,
        cursor: str | None = None,
        page_size: PageSize = 25,
        tx: Transaction = door.reader(READ_ANALYTICS),
    ) -> TrackingPlanPage:
        """The events that are tracked here, by name and version."""
        return await tracking.list_versions(tx, event_name, cursor, page_size)


def _add_quarantine(routes: APIRouter, door: Door) -> None:
    settings = door.settings.access.analytics

    @routes.get("/quarantine/list")
    async def list_held(
        status: QuarantineStatus = "held",
        event_name: EventName | None = None,
        cursor: str | None = None,
        page_size: PageSize = 25,
        tx: Transaction = door.reader(READ_ANALYTICS, plans=Plans.OWN),
    ) -> QuarantinePage:
        """What is held back, landed after that or was given up, the last to happen first."""
        return await quarantine.list_held(tx, status, event_name, cursor, page_size)

    @routes.post("/quarantine/repair")
    async def repair(body: EventRepair, tx: Transaction = door.writer(MEND_ANALYTICS)) -> QuarantinedEvent:
        """Put another name, version or payload in the place of what came. It lands when it is replayed."""
        return await quarantine.repair_event(tx, body, settings)

    @routes.post("/quarantine/replay")
    async def replay(body: EventReplay, tx: Transaction = door.writer(MEND_ANALYTICS)) -> ReplayedEvents:
        """Check again what is held back, and store what is valid now. A dry run counts."""
        return await quarantine.replay_events(tx, body, settings)

    @routes.post("/quarantine/discard")
    async def discard(body: EventDiscard, tx: Transaction = door.writer(MEND_ANALYTICS)) -> DiscardedEvents:
        """Give up what is held back. A dry run counts."""
        return await quarantine.discard_events(tx, body)


def _add_queries(routes: APIRouter, door: Door) -> None:
    settings = door.settings.access.analytics

    @routes.post("/queries/funnel")
    async def ask_funnel(body: asked.FunnelAsked, tx: Transaction = door.reader(READ_ANALYTICS)) -> asked.Funnels:
        """How many subjects came to each step."""
        return await asking.ask_funnel(tx, body, settings)

    @routes.post("/queries/retention")
    async def ask_retention(
        body: asked.RetentionAsked, tx: Transaction = door.reader(READ_ANALYTICS)
    ) -> asked.Retention:
        """Who came back, by the day or week of their first event."""
        return await asking.ask_retention(tx, body, settings)

    @routes.post("/queries/adoption")
    async def ask_adoption(body: asked.AdoptionAsked, tx: Transaction = door.reader(READ_ANALYTICS)) -> asked.Adoption:
        """Which share of those who are active in a week have an event then."""
        return await asking.ask_adoption(tx, body, settings)

    @routes.post("/queries/segments")
    async def ask_segments(body: asked.SegmentsAsked, tx: Transaction = door.reader(READ_ANALYTICS)) -> asked.Segments:
        """An event by the plans that were enforced when it happened."""
        return await asking.ask_segments(tx, body, settings)

    @routes.post("/queries/trend")
    async def ask_trend(body: asked.TrendAsked, tx: Transaction = door.reader(READ_ANALYTICS)) -> asked.Trend:
        """Days that are not as those before them."""
        return await asking.ask_trend(tx, body, settings)
