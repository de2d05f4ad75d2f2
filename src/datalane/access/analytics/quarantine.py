"""Mending what is held back.

A repair says what stands in the place of what came, which is kept as it was. A replay checks again by the tracking plan
as it is now and stores what is valid, under the id that it came with: however often it is replayed, and by how many at
once, it lands once, since each holds the rows that it looks at and the id is unique. Rows change by verbs alone, which
leave an audit record of each decision. Saying what time it is (`now`) is for the system alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any

from datalane.access.analytics.judging import Told, Verdict
from datalane.access.analytics.metrics import count_events
from datalane.access.analytics.schemas import (
    DiscardedEvents,
    EventDiscard,
    EventRepair,
    EventReplay,
    HeldFilter,
    HeldReason,
    QuarantinedEvent,
    QuarantinePage,
    QuarantineStatus,
    RepairedEvent,
    ReplayedEvents,
)
from datalane.access.analytics.service import USUAL, judge_all, read_plan
from datalane.access.permissions import MEND_ANALYTICS, READ_ANALYTICS
from datalane.db.database import encode_json
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import Conflict, NotFound, StaleVersion
from datalane.kit.clock import utc_now
from datalane.kit.jsonlimits import encode_within
from datalane.settings import AnalyticsSettings

MOST, MOST_BYTES = 1_000, 8 * 1024 * 1024
"""Events of one replay, and bytes of their payloads; of discarding there are as many, whatever their size."""
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
    held = await _find_seen(tx, repair)
    before = held.repaired or RepairedEvent(
        event_name=held.event_name, event_version=held.event_version, payload=held.payload
    )
    said = repair.model_dump(include={"event_name", "event_version", "payload"}, exclude_none=True)
    after = before.model_copy(update=said)
    payload = encode_within(after.payload, "the payload", tx.limits.event_payload, tx.limits.event_payload_depth)
    verdict = await _judge_repaired(tx, held, after, payload, analytics, now or utc_now())
    changed = await _queries.repair_held(
        tx.connection,
        source_event_id=repair.source_event_id,
        seen_version=repair.version,
        event_name=after.event_name,
        event_version=after.event_version,
        payload=payload,
        note=repair.note,
        status=verdict.status,
        reasons=encode_json(_plain(verdict)),
        now=now,
    )
    if changed is None:  # somebody was quicker
        await _find_seen(tx, repair)
    return await _find(tx, repair.source_event_id)


async def replay_events(
    tx: Transaction, replay: EventReplay, analytics: AnalyticsSettings = USUAL, now: datetime | None = None
) -> ReplayedEvents:
    """Store what is valid now of up to 1,000 that match and have 8 MiB of payloads together, and say anew of the others
    why they are held.

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
    replayed = ReplayedEvents(
        dry_run=replay.dry_run,
        matched=len(rows),
        landed=len(valid),
        still_held=len(held),
        conflicts=0,
        anomalies=0,
        next_cursor=following,
    )
    if replay.dry_run:
        return replayed
    outcomes = await _land(tx, [row.source_event_id for row in valid], analytics, now)
    taken = [row["source_event_id"] for row in outcomes if row["outcome"] == "conflict"]
    await _explain(tx, held | dict.fromkeys(taken, Verdict("valid", (_TAKEN,))), now)
    landed, anomalies = len(outcomes) - len(taken), sum(row["anomaly"] for row in outcomes)
    count_events(tx, Counter(landed=landed), anomalies)
    return replayed.model_copy(update={"landed": landed, "conflicts": len(taken), "anomalies": anomalies})


async def discard_events(tx: Transaction, discard: EventDiscard, now: datetime | None = None) -> DiscardedEvents:
    """Give up to 1,000 up that match. Their ids stay known, so that they do not come again."""
    MEND_ANALYTICS.check(tx.context)
    tx = tx.following()
    picked = await _queries.pick_held(
        tx.connection, workspace_id=tx.workspace_id, **discard.filter.model_dump(), most=MOST
    )
    ids = [row["source_event_id"] for row in picked]
    if discard.dry_run or not ids:
        return DiscardedEvents(dry_run=discard.dry_run, discarded=len(ids))
    gone = await _queries.discard_held(tx.connection, source_event_ids=ids, reason=discard.reason, now=now)
    return DiscardedEvents(dry_run=False, discarded=gone)


async def _find(tx: Transaction, source_event_id: str) -> QuarantinedEvent:
    row = await _queries.find_held(tx.connection, workspace_id=tx.workspace_id, source_event_id=source_event_id)
    if row is None:
        raise NotFound("no such event is held back")
    return QuarantinedEvent(**row)


async def _find_seen(tx: Transaction, repair: EventRepair) -> QuarantinedEvent:
    """As it was seen by who repairs it."""
    held = await _find(tx, repair.source_event_id)
    if held.status != "held":
        raise Conflict(f"the event is not held any more: it is {held.status}")
    if held.version != repair.version:
        raise StaleVersion(f"the event is at version {held.version}", {"current": held.model_dump(mode="json")})
    return held


async def _judge_repaired(
    tx: Transaction,
    held: QuarantinedEvent,
    after: RepairedEvent,
    payload: str,
    analytics: AnalyticsSettings,
    now: datetime,
) -> Verdict:
    told = Told(
        *(held.source_event_id, after.event_name, after.event_version, held.occurred_at, held.subject, None, payload)
    )
    plan = await read_plan(tx, [(after.event_name, after.event_version)])
    [verdict] = await judge_all([told], plan, analytics, now)
    return verdict


async def _take(tx: Transaction, asked: HeldFilter, cursor: str | None) -> tuple[list[Told], str | None]:
    """Hold what fits into one replay, and the cursor behind it where there are others."""
    listing = f"analytics replay:{asked.model_dump_json()}"
    place = tx.read_cursor(listing, cursor)
    found = await _queries.take_held(
        tx.connection,
        **asked.model_dump(),
        place=datetime.fromisoformat(place[0]) if place else None,
        behind=place[1] if place else None,
        most=MOST + 1,
        most_bytes=MOST_BYTES,
    )
    page, following = tx.cut_page(
        listing, found, _fitting(found), lambda row: [row["occurred_at"].isoformat(), row["source_event_id"]]
    )
    return [Told(*row) for row in page], following


def _fitting(rows: Sequence[Any]) -> int:
    """How many of the rows are within both bounds: one is, whatever its size."""
    sizes = accumulate(len(row["payload"].encode()) for row in rows)
    return max(1, min(MOST, sum(size <= MOST_BYTES for size in sizes)))


async def _land(
    tx: Transaction, source_event_ids: list[str], analytics: AnalyticsSettings, now: datetime | None
) -> Sequence[Any]:
    if not source_event_ids:
        return []
    landed: Sequence[Any] = await _queries.land_held(
        tx.connection, source_event_ids=source_event_ids, tolerance=analytics.snapshot_tolerance, now=now
    )
    return landed


async def _explain(tx: Transaction, held: Mapping[str, Verdict], now: datetime | None) -> None:
    if held:
        await _queries.explain_held(
            tx.connection,
            source_event_ids=[*held],
            statuses=[verdict.status for verdict in held.values()],
            reasons=[encode_json(_plain(verdict)) for verdict in held.values()],
            now=now,
        )


def _plain(verdict: Verdict) -> list[dict[str, str]]:
    return [reason.model_dump() for reason in verdict.reasons]
