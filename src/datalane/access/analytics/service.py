"""Recording events of analytics: each is checked by the tracking plan, stored once with the plan that was enforced when
it happened, or held back with the reasons.

Reading the plan, storing and holding back are one statement each, however many events there are. What an id stands for
is decided by the database: of two that come at the same time one lands, and the other is told what it is.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from datalane.access.analytics.judging import Plan, Told, Tracked, Verdict, judge
from datalane.access.analytics.metrics import count_events
from datalane.access.analytics.schemas import (
    AnalyticsEvent,
    AnalyticsEventPage,
    AnalyticsFilter,
    AnalyticsOutcomes,
    NewAnalyticsEvent,
)
from datalane.access.permissions import READ_ANALYTICS, RECORD_ANALYTICS
from datalane.contracts.conformance import CheckedSchema, KeptSchemas
from datalane.db.database import encode_json
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import DatalaneError, InvalidInput, LimitExceeded
from datalane.kit.clock import utc_now
from datalane.kit.jsonlimits import encode_within
from datalane.settings import AnalyticsSettings

USUAL = AnalyticsSettings()
_FEW, _SMALL = 20, 64 * 1024
"""Events and bytes of payloads that are judged at once."""
_MOST_SCHEMAS = 2 * 1024 * 1024
"""Bytes of schemas that one call may ask for anew."""
_KEPT = KeptSchemas(1024 * 1024)
"""Compiled schemas by the ids of their versions, which never change."""

_COLUMNS = (*("source_event_ids", "event_names", "event_versions", "occurred_ats", "subjects", "observed", "payloads"),)

_queries = load_queries(__file__)


async def record_events(
    tx: Transaction,
    events: Sequence[NewAnalyticsEvent],
    analytics: AnalyticsSettings = USUAL,
    now: datetime | None = None,
) -> AnalyticsOutcomes:
    """Store what is valid, hold back what is not, and tell of each what became of it, in their order.

    `now` is for the system alone. Raises `LimitExceeded` for more events than a batch may have (limits.batch), for a
    payload that is too large or too deep, and where checking takes too long; `InvalidInput` for no events and for what
    JSON or the database cannot hold. Nothing is stored then.
    """
    RECORD_ANALYTICS.check(tx.context)
    if not 1 <= len(events) <= tx.limits.batch:
        message = f"{len(events):,} events, where a batch has 1 to {tx.limits.batch:,} (limits.batch)"
        raise LimitExceeded(message) if events else InvalidInput(message)
    at = now or utc_now()
    rows = _rows(tx, events)
    plan = await read_plan(tx, {(row.event_name, row.event_version) for row in rows})
    verdicts = await judge_all(rows, plan, analytics, at)
    first: dict[str, int] = {}
    for place, row in enumerate(rows):
        first.setdefault(row.source_event_id, place)
    places = sorted(first.values())
    valid = [rows[place] for place in places if not verdicts[place].reasons]
    held = [(rows[place], verdicts[place]) for place in places if verdicts[place].reasons]
    told = await _store(tx, valid, analytics, now)
    told |= await _hold(tx, held, now)
    return _tell(tx, rows, verdicts, first, told)


async def list_events(
    tx: Transaction, asked: AnalyticsFilter, cursor: str | None = None, page_size: int = 25
) -> AnalyticsEventPage:
    """Events and those that are held back, the last to happen first. Raises `InvalidInput` for a cursor that is not
    this list's."""
    READ_ANALYTICS.check(tx.context)
    listing = f"analytics events:{asked.model_dump_json()}"
    place = tx.read_cursor(listing, cursor)
    rows = await _queries.list_events(
        tx.connection,
        workspace_id=tx.workspace_id,
        **asked.model_dump(),
        place=datetime.fromisoformat(place[0]) if place else None,
        before=place[1] if place else None,
        page_size=page_size + 1,
    )
    page, following = tx.cut_page(
        listing, rows, page_size, lambda row: [row["occurred_at"].isoformat(), row["source_event_id"]]
    )
    return AnalyticsEventPage(data=[AnalyticsEvent(**row) for row in page], page_size=page_size, next_cursor=following)


async def read_plan(tx: Transaction, asked: Iterable[tuple[str, int]]) -> Plan:
    """What is tracked under the names that are asked for, with the schemas of the versions that are. Raises
    `LimitExceeded` where those are too much for one call."""
    asked = [*asked]
    names = sorted({name for name, _ in asked})
    found = await _queries.find_tracked(tx.connection, workspace_id=tx.workspace_id, names=names)
    wanted = {*asked}
    told = [row for row in found if not row["is_retired"] and (row["event_name"], row["event_version"]) in wanted]
    schemas = await _schemas(tx, names, [row["tracking_id"] for row in told])
    versions = {}
    for row in found:
        schema = schemas.get(row["tracking_id"])
        checked, trouble = (None, schema) if isinstance(schema, str) else (schema, "")
        version = Tracked(row["tracking_id"], row["is_retired"], checked, trouble)
        versions[row["event_name"], row["event_version"]] = version
    return Plan(versions, frozenset(name for name, _ in versions))


async def judge_all(
    events: Sequence[Told], plan: Plan, analytics: AnalyticsSettings, now: datetime
) -> Sequence[Verdict]:
    """As `judge`; what takes long does not hold up others."""
    if len(events) <= _FEW and sum(len(event.payload) for event in events) <= _SMALL:
        return judge(events, plan, analytics.oldest, now)
    return await asyncio.to_thread(judge, events, plan, analytics.oldest, now)


async def _store(
    tx: Transaction, rows: Sequence[Told], analytics: AnalyticsSettings, now: datetime | None
) -> dict[str, str]:
    if not rows:
        return {}
    found = await _queries.record_events(
        tx.connection, **columns_of(rows), **_teller(tx), tolerance=analytics.snapshot_tolerance, now=now
    )
    return outcomes_of(rows, found)


async def _hold(tx: Transaction, held: Sequence[tuple[Told, Verdict]], now: datetime | None) -> dict[str, str]:
    if not held:
        return {}
    rows = [row for row, _ in held]
    found = await _queries.hold_events(
        tx.connection,
        **columns_of(rows),
        **_teller(tx),
        statuses=[verdict.status for _, verdict in held],
        reasons=[encode_json([reason.model_dump() for reason in verdict.reasons]) for _, verdict in held],
        now=now,
    )
    return outcomes_of(rows, found)


def columns_of(rows: Sequence[Told]) -> dict[str, Any]:
    """As the verbs take them."""
    return dict(zip(_COLUMNS, map(list, zip(*rows, strict=True)), strict=True))


def outcomes_of(rows: Sequence[Told], found: Sequence[Any]) -> dict[str, str]:
    """What the verbs answer, by the ids of events: `duplicate`, `conflict`, `anomaly`."""
    return {rows[row["ordinal"] - 1].source_event_id: row["outcome"] for row in found}


def _teller(tx: Transaction) -> dict[str, Any]:
    return {"actor_id": tx.context.actor_id, "correlation_id": tx.context.correlation_id}


def _rows(tx: Transaction, events: Sequence[NewAnalyticsEvent]) -> list[Told]:
    limits, actor = tx.limits, str(tx.context.actor_id)
    rows = []
    for place, event in enumerate(events):
        name = f"the payload of event {place}"
        payload = encode_within(event.payload, name, limits.event_payload, limits.event_payload_depth)
        seen = event.observed()
        rows.append(
            Told(
                event.source_event_id,
                event.event_name,
                event.event_version,
                event.occurred_at,
                event.subject or actor,
                None if seen is None else encode_json(seen),
                payload,
            )
        )
    return rows


async def _schemas(
    tx: Transaction, names: Sequence[str], tracking_ids: Sequence[UUID]
) -> dict[UUID, CheckedSchema | str]:
    """Compiled, or what is wrong with those that cannot be checked by: in raw SQL anything can be put there."""
    kept: dict[UUID, CheckedSchema | str] = {}
    for tracking_id in tracking_ids:
        if (schema := _KEPT.find(tracking_id)) is not None:
            kept[tracking_id] = schema
    missing = [tracking_id for tracking_id in tracking_ids if tracking_id not in kept]
    if missing:
        rows = await _queries.read_schemas(
            tx.connection, workspace_id=tx.workspace_id, names=names, tracking_ids=missing
        )
        if sum(len(encode_json(row["json_schema"])) for row in rows) > _MOST_SCHEMAS:
            raise LimitExceeded(
                f"the schemas of these events are over {_MOST_SCHEMAS:,} bytes together; tell of fewer kinds at once"
            )
        for row in rows:
            try:
                kept[row["tracking_id"]] = _KEPT.keep(row["tracking_id"], row["json_schema"], "the schema")
            except DatalaneError as error:
                kept[row["tracking_id"]] = str(error)
    return kept


def _tell(
    tx: Transaction,
    rows: Sequence[Told],
    verdicts: Sequence[Verdict],
    first: Mapping[str, int],
    told: Mapping[str, str],
) -> AnalyticsOutcomes:
    data: list[dict[str, object]] = []
    for place, (row, verdict) in enumerate(zip(rows, verdicts, strict=True)):
        outcome, said = "quarantined" if verdict.reasons else "accepted", told.get(row.source_event_id)
        if said in ("duplicate", "conflict"):
            outcome = said
        before = first[row.source_event_id]
        if before != place:  # the same id came twice in one batch
            outcome = "duplicate" if row.is_as(rows[before]) and outcome != "conflict" else "conflict"
        data.append(
            {
                "source_event_id": row.source_event_id,
                "outcome": outcome,
                "payload_validation_status": verdict.status,
                "reasons": verdict.reasons,
                "anomaly": before == place and said == "anomaly",
            }
        )
    counts = Counter(str(each["outcome"]) for each in data)
    anomalies = sum(each["anomaly"] is True for each in data)
    count_events(tx, counts, anomalies)
    return AnalyticsOutcomes.model_validate(  # at once, which is much quicker than one by one
        {
            "data": data,
            "accepted": counts["accepted"],
            "duplicates": counts["duplicate"],
            "conflicts": counts["conflict"],
            "quarantined": counts["quarantined"],
            "anomalies": anomalies,
        }
    )
