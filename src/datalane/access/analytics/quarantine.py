"""Mending what is held back.

A repair says what stands in the place of what came, which is kept as it was. A replay checks again by the tracking plan
as it is now and stores what is valid, under the id that it came with: however often it is replayed, and by how many at
once, it lands once, since each holds the rows that it looks at and the id is unique.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from datalane.access.analytics.judging import Told, Verdict
from datalane.access.analytics.metrics import count_events
from datalane.access.analytics.schemas import (
    DiscardedEvents,
    EventDiscard,
    EventRepair,
    EventReplay,
    HeldReason,
    QuarantinedEvent,
    QuarantinePage,
    QuarantineStatus,
    RepairedEvent,
    ReplayedEvents,
)
from datalane.access.analytics.service import USUAL, columns_of, judge_all, outcomes_of, read_plan
from datalane.access.permissions import MEND_ANALYTICS, READ_ANALYTICS
from datalane.db.database import encode_json
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.audit import record
from datalane.errors import Conflict, NotFound, StaleVersion
from datalane.kit.clock import utc_now
from datalane.kit.jsonlimits import encode_within
from datalane.settings import AnalyticsSettings

MOST = 1_000
_TAKEN = HeldReason(code="conflict", field="source_event_id", message="another event with this id has landed")

_queries = load_queries(__file__, "quarantine.sql")


async def list_held(
    tx: Transaction,
    status: QuarantineStatus = "held",
    event_name: str | None = None,
    cursor: str | None = None,
    page_size: int = 25,
) -> QuarantinePage:
    """What is or was held back, the last to happen first.

    Raises `InvalidInput` for a cursor that is not this list's.
    """
    READ_ANALYTICS.check(tx.context)
    listing = f"analytics quarantine:{[status, event_name]}"
    place = tx.read_cursor(listing, cursor)
    rows = await _queries.list_held(
        tx.connection,
        workspace_id=tx.workspace_id,
        status=status,
        event_name=event_name,
        place=datetime.fromisoformat(place[0]) if place else None,
        before=place[1] if place else None,
        page_size=page_size + 1,
    )
    page, following = tx.cut_page(
        listing, rows, page_size, lambda row: [row["occurred_at"].isoformat(), row["source_event_id"]]
    )
    return QuarantinePage(data=[QuarantinedEvent(**row) for row in page], page_size=page_size, next_cursor=following)


async def repair_event(
    tx: Transaction, repair: EventRepair, analytics: AnalyticsSettings = USUAL, now: datetime | None = None
) -> QuarantinedEvent:
    """Put another name, version or payload in the place of what came. It stays held, with the reasons that are left,
    until it is replayed.

    Raises `NotFound`, `StaleVersion`, `Conflict` for what is not held any more, and `LimitExceeded` and `InvalidInput`
    of the payload as `record_events`.
    """
    MEND_ANALYTICS.check(tx.context)
    tx = tx.following()
    at = now or utc_now()
    held = await _take_one(tx, repair)
    before = held.repaired or RepairedEvent(
        event_name=held.event_name, event_version=held.event_version, payload=held.payload
    )
    said = repair.model_dump(include={"event_name", "event_version", "payload"}, exclude_none=True)
    after = before.model_copy(update=said)
    verdict = await _judge_repaired(tx, held, after, analytics, at)
    changed = await _queries.repair_held(
        tx.connection,
        workspace_id=tx.workspace_id,
        source_event_id=repair.source_event_id,
        repaired=after.model_dump(),
        note=repair.note,
        status=verdict.status,
        reasons=_plain(verdict),
        now=at,
    )
    told = {**after.model_dump(), "note": repair.note}
    await record(
        tx, "analytics.repaired", "analytics_event", held.source_event_id, before=before.model_dump(), after=told
    )
    return QuarantinedEvent(**changed)


async def replay_events(
    tx: Transaction, replay: EventReplay, analytics: AnalyticsSettings = USUAL, now: datetime | None = None
) -> ReplayedEvents:
    """Store what is valid now of up to 1,000 that match, and say anew of the others why they are held.

    Raises `InvalidInput` for a cursor that is not of this filter, `LimitExceeded` where checking takes too long.
    """
    MEND_ANALYTICS.check(tx.context)
    tx = tx.following()
    at = now or utc_now()
    rows, following = await _take(tx, replay.filter, replay.cursor)
    plan = await read_plan(tx, {(row.event_name, row.event_version) for row in rows})
    verdicts = await judge_all(rows, plan, analytics, at)
    valid = [row for row, verdict in zip(rows, verdicts, strict=True) if not verdict.reasons]
    held = {row.source_event_id: verdict for row, verdict in zip(rows, verdicts, strict=True) if verdict.reasons}
    told: dict[str, str] = {}
    if not replay.dry_run:
        told = await _land(tx, valid, analytics, now)
        taken = [key for key, outcome in told.items() if outcome == "conflict"]
        landed = [row.source_event_id for row in valid if row.source_event_id not in taken]
        await _move(tx, landed, "landed", None, at)
        await _say(tx, held | dict.fromkeys(taken, Verdict("valid", (_TAKEN,))), at)
        count_events(tx, Counter(landed=len(landed)), [*told.values()].count("anomaly"))
    outcomes = Counter(told.values())
    return await _tell_replay(
        tx,
        replay,
        ReplayedEvents(
            dry_run=replay.dry_run,
            matched=len(rows),
            landed=len(valid) - outcomes["conflict"],
            still_held=len(held),
            conflicts=outcomes["conflict"],
            anomalies=outcomes["anomaly"],
            next_cursor=following,
        ),
    )


async def discard_events(tx: Transaction, discard: EventDiscard, now: datetime | None = None) -> DiscardedEvents:
    """Give up to 1,000 up that match. Their ids stay known, so that they do not come again."""
    MEND_ANALYTICS.check(tx.context)
    tx = tx.following()
    rows, _ = await _take(tx, discard.filter, None)
    if not discard.dry_run:
        gone = await _move(tx, [row.source_event_id for row in rows], "discarded", discard.reason, now or utc_now())
        asked = discard.filter.model_dump(mode="json", exclude_none=True)
        await record(
            tx,
            "analytics.discarded",
            "analytics_quarantine",
            None,
            after={"filter": asked, "reason": discard.reason, "discarded": gone},
        )
    return DiscardedEvents(dry_run=discard.dry_run, discarded=len(rows))


async def _take_one(tx: Transaction, repair: EventRepair) -> QuarantinedEvent:
    row = await _queries.lock_held(tx.connection, workspace_id=tx.workspace_id, source_event_id=repair.source_event_id)
    if row is None:
        raise NotFound("no such event is held back")
    held = QuarantinedEvent(**row)
    if held.status != "held":
        raise Conflict(f"the event is not held any more: it is {held.status}")
    if held.version != repair.version:
        raise StaleVersion(f"the event is at version {held.version}", {"current": held.model_dump(mode="json")})
    return held


async def _judge_repaired(
    tx: Transaction, held: QuarantinedEvent, after: RepairedEvent, analytics: AnalyticsSettings, now: datetime
) -> Verdict:
    payload = encode_within(after.payload, "the payload", tx.limits.event_payload, tx.limits.event_payload_depth)
    told = Told(
        *(held.source_event_id, after.event_name, after.event_version, held.occurred_at, held.subject, None, payload)
    )
    plan = await read_plan(tx, [(after.event_name, after.event_version)])
    [verdict] = await judge_all([told], plan, analytics, now)
    return verdict


async def _take(tx: Transaction, asked: Any, cursor: str | None) -> tuple[list[Told], str | None]:
    listing = f"analytics replay:{asked.model_dump_json()}"
    place = tx.read_cursor(listing, cursor)
    found = await _queries.take_held(
        tx.connection,
        workspace_id=tx.workspace_id,
        **asked.model_dump(),
        place=datetime.fromisoformat(place[0]) if place else None,
        behind=place[1] if place else None,
        most=MOST + 1,
    )
    page, following = tx.cut_page(
        listing, found, MOST, lambda row: [row["occurred_at"].isoformat(), row["source_event_id"]]
    )
    return [Told(*row) for row in page], following


async def _land(
    tx: Transaction, rows: list[Told], analytics: AnalyticsSettings, now: datetime | None
) -> dict[str, str]:
    if not rows:
        return {}
    found = await _queries.land_events(
        tx.connection, **columns_of(rows), tolerance=analytics.snapshot_tolerance, now=now
    )
    return outcomes_of(rows, found)


async def _move(tx: Transaction, source_event_ids: list[str], status: str, note: str | None, now: datetime) -> int:
    if not source_event_ids:
        return 0
    moved = await _queries.move_held(
        tx.connection,
        workspace_id=tx.workspace_id,
        source_event_ids=source_event_ids,
        status=status,
        note=note,
        now=now,
    )
    return len(moved)


async def _say(tx: Transaction, held: dict[str, Verdict], now: datetime) -> None:
    if held:
        await _queries.say_reasons(
            tx.connection,
            workspace_id=tx.workspace_id,
            source_event_ids=[*held],
            statuses=[verdict.status for verdict in held.values()],
            reasons=[encode_json(_plain(verdict)) for verdict in held.values()],
            now=now,
        )


async def _tell_replay(tx: Transaction, replay: EventReplay, replayed: ReplayedEvents) -> ReplayedEvents:
    if not replay.dry_run and replayed.landed:
        asked = replay.filter.model_dump(mode="json", exclude_none=True)
        after = {"filter": asked, **replayed.model_dump(include={"matched", "landed", "still_held", "conflicts"})}
        await record(tx, "analytics.replayed", "analytics_quarantine", None, after=after)
    return replayed


def _plain(verdict: Verdict) -> list[dict[str, str]]:
    return [reason.model_dump() for reason in verdict.reasons]
