"""The tracking plan: which events a workspace tracks, each version with its schema.

A version is added and never changes; it can be retired. What the application tracks holds in every workspace and takes
the place of a workspace's own event of that name, whichever was there first.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from datalane.access.analytics.schemas import (
    NewTrackingVersion,
    RegisteredTrackingVersion,
    TrackingPlanPage,
    TrackingRetirement,
    TrackingVersion,
)
from datalane.access.analytics.tracked import MOST_VERSIONS
from datalane.access.permissions import MANAGE_TRACKING, READ_ANALYTICS
from datalane.contracts.conformance import check_schema
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.audit import record
from datalane.errors import Conflict, LimitExceeded, NotFound
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7

_queries = load_queries(__file__, "tracking.sql")


async def register_version(
    tx: Transaction, new: NewTrackingVersion, now: datetime | None = None
) -> RegisteredTrackingVersion:
    """Add a version; one that is there with the same schema stays as it is.

    Raises `Conflict` for another schema under a version that is there, for a retired one, and for a name that the
    application tracks; `InvalidInput` and `LimitExceeded` for a schema that cannot be checked by; `LimitExceeded` for
    more than `MOST_VERSIONS` of an event.
    """
    MANAGE_TRACKING.check(tx.context)
    tx = tx.following()
    check_schema(new.json_schema, "json_schema")
    if await _queries.is_tracked(tx.connection, event_name=new.event_name):
        raise Conflict(f"the application tracks {new.event_name} in every workspace; take another name")
    named = {"workspace_id": tx.workspace_id, "event_name": new.event_name}
    await _queries.lock_name(tx.connection, **named)
    added = await _queries.add_version(
        tx.connection,
        workspace_id=tx.workspace_id,
        tracking_id=uuid7(),
        **new.model_dump(),
        now=now or utc_now(),
        actor_id=tx.context.actor_id,
    )
    version = await _find(tx, new.event_name, new.event_version)
    assert version is not None
    is_new = bool(added == "INSERT 0 1")
    if is_new and await _queries.count_versions(tx.connection, **named) > MOST_VERSIONS:
        raise LimitExceeded(f"{new.event_name} has {MOST_VERSIONS} versions, and no event has more; track another name")
    if not is_new and version.json_schema != new.json_schema:
        raise Conflict(
            f"version {new.event_version} of {new.event_name} has another schema; a version never changes, so that "
            "what clients send stays valid: raise it"
        )
    if not is_new and version.retired_at is not None:
        raise Conflict(f"version {new.event_version} of {new.event_name} is retired; raise it")
    if is_new:
        after = {"event_version": new.event_version, "owner": new.owner}
        await record(tx, "tracking_plan.registered", "tracking_version", new.event_name, after=after)
    return RegisteredTrackingVersion(version=version, created=is_new)


async def retire_version(tx: Transaction, told: TrackingRetirement, now: datetime | None = None) -> TrackingVersion:
    """Events of this version are held back from now on; one that is retired stays as it is. Raises `NotFound`."""
    MANAGE_TRACKING.check(tx.context)
    tx = tx.following()
    if await _find(tx, told.event_name, told.event_version) is None:
        raise NotFound("the workspace tracks no such version")
    retired = await _queries.retire_version(
        tx.connection,
        workspace_id=tx.workspace_id,
        **told.model_dump(),
        now=now or utc_now(),
        actor_id=tx.context.actor_id,
    )
    if retired == "INSERT 0 1":
        after = {"event_version": told.event_version, "reason": told.reason}
        await record(tx, "tracking_plan.retired", "tracking_version", told.event_name, after=after)
    version = await _find(tx, told.event_name, told.event_version)
    assert version is not None
    return version


async def list_versions(
    tx: Transaction, event_name: str | None = None, cursor: str | None = None, page_size: int = 25
) -> TrackingPlanPage:
    """What holds in this workspace, by name and version. Raises `InvalidInput` for a cursor that is not this list's."""
    READ_ANALYTICS.check(tx.context)
    listing = f"tracking plan:{event_name}"
    place = tx.read_cursor(listing, cursor) or (None, None, None)
    rows = await _queries.list_versions(
        tx.connection,
        workspace_id=tx.workspace_id,
        event_name=event_name,
        behind=place[0],
        behind_version=place[1],
        behind_source=place[2],
        page_size=page_size + 1,
    )
    page, following = tx.cut_page(
        listing, rows, page_size, lambda row: [row["event_name"], row["event_version"], row["source"]]
    )
    return TrackingPlanPage(data=[TrackingVersion(**row) for row in page], page_size=page_size, next_cursor=following)


async def _find(tx: Transaction, event_name: str, event_version: int) -> TrackingVersion | None:
    row: Any = await _queries.find_version(
        tx.connection, workspace_id=tx.workspace_id, event_name=event_name, event_version=event_version
    )
    return None if row is None else TrackingVersion(**row, source="workspace", shadowed=False)
