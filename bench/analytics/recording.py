"""A thousand events in a batch: through the lane, and by hand into a table with the same columns and key."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg

from datalane.access.analytics.schemas import NewAnalyticsEvent, NewTrackingVersion
from datalane.access.analytics.service import record_events
from datalane.access.analytics.tracking import register_version
from datalane.access.entitlements.plans import Plan, Plans, register_plans
from datalane.access.entitlements.service import assign_plan
from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.db.named_queries import load_queries
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7

BATCH = 1_000
_SCHEMA = {
    "type": "object",
    "properties": {"source": {"type": "string"}, "seats": {"type": "integer"}},
    "required": ["source"],
    "additionalProperties": False,
}
_SNAPSHOT = {"plan_id": "pro", "plan_version": 1, "status": "enabled", "features": ["export", "search"]}
_COLUMNS = 14
_SET_WISE = """
INSERT INTO public.{}
SELECT $1, i.id, 'signup.completed', 1, i.at, $2, i.subject, $3, 'bench', 'pro', $4::jsonb, i.seen::jsonb, 'valid',
       i.payload::jsonb
FROM unnest($5::text[], $6::timestamptz[], $7::text[], $8::text[], $9::text[]) AS i (id, at, subject, seen, payload)
"""

queries = load_queries(__file__, "bare.sql")


@dataclass
class Recorded:
    """Seconds of each batch."""

    ours: list[float] = field(default_factory=list)
    rows: list[float] = field(default_factory=list)
    """`INSERT … VALUES (…), (…), …`."""
    set_wise: list[float] = field(default_factory=list)
    """`INSERT … SELECT … FROM unnest(…)`."""
    indexed: list[float] = field(default_factory=list)
    """The same into a table that also has the lane's indexes."""

    def ratio(self, by_hand: Sequence[float]) -> float:
        """Events a second of ours to those by hand."""
        return statistics.median(by_hand) / statistics.median(self.ours)


async def measure(database: Database, admin: asyncpg.Connection, rounds: int) -> Recorded:
    """In turns. Ours is told models, checks them, looks their plan up and tells of each what became of it."""
    context = Context(uuid7(), uuid7(), Role.ADMIN)
    await _prepare(database, admin, context)
    recorded = Recorded()
    for turn in range(rounds + 2):
        events = _events()
        models = [NewAnalyticsEvent(**event) for event in events]
        began = time.perf_counter()
        async with database.transaction(context) as tx:
            told = await record_events(tx, models)
        took = [time.perf_counter() - began]
        assert (told.accepted, told.anomalies) == (BATCH, 0)
        took.append(await _by_rows(admin, context, events))
        took += [await _set_wise(admin, context, events, table) for table in ("bare_events", "indexed_events")]
        if turn >= 2:
            for kept, seconds in zip(
                (recorded.ours, recorded.rows, recorded.set_wise, recorded.indexed), took, strict=True
            ):
                kept.append(seconds)
        await admin.execute("TRUNCATE public.bare_events")
    return recorded


async def _prepare(database: Database, admin: asyncpg.Connection, context: Context) -> None:
    plans = Plans()
    plans.add(Plan("pro", ("export", "search"), {}))
    await register_plans(database, plans)
    async with database.transaction(Context.system(context.workspace_id)) as tx:
        await assign_plan(tx, "pro", reason="it is measured")
    tracked = NewTrackingVersion(event_name="signup.completed", json_schema=_SCHEMA, owner="bench")
    async with database.transaction(context) as tx:
        await register_version(tx, tracked)
    await queries.make_tables(admin)


def _events() -> list[dict[str, Any]]:
    now = utc_now() + timedelta(seconds=1)
    return [
        {
            "event_name": "signup.completed",
            "source_event_id": str(uuid4()),
            "occurred_at": now + timedelta(milliseconds=place),
            "subject": f"subject {place % 500}",
            "plan_id": "pro",
            "payload": {"source": "ad", "seats": place},
        }
        for place in range(BATCH)
    ]


async def _by_rows(admin: asyncpg.Connection, context: Context, events: Sequence[dict[str, Any]]) -> float:
    places = ", ".join(
        f"({', '.join(f'${row * _COLUMNS + column + 1}' for column in range(_COLUMNS))})" for row in range(len(events))
    )
    now, snapshot, values = utc_now(), json.dumps(_SNAPSHOT), list[Any]()
    for event in events:
        values += [context.workspace_id, event["source_event_id"], event["event_name"], 1, event["occurred_at"], now]
        values += [event["subject"], context.actor_id, "bench", "pro", snapshot, '{"plan_id": "pro"}', "valid"]
        values.append(json.dumps(event["payload"]))
    return await _timed(admin, f"INSERT INTO public.bare_events VALUES {places}", values, empties=True)


async def _set_wise(admin: asyncpg.Connection, context: Context, events: Sequence[dict[str, Any]], table: str) -> float:
    moments: list[datetime] = [event["occurred_at"] for event in events]
    values = [
        *(context.workspace_id, utc_now(), context.actor_id, json.dumps(_SNAPSHOT)),
        [event["source_event_id"] for event in events],
        moments,
        [event["subject"] for event in events],
        ['{"plan_id": "pro"}'] * len(events),
        [json.dumps(event["payload"]) for event in events],
    ]
    return await _timed(admin, _SET_WISE.format(table), values)


async def _timed(admin: asyncpg.Connection, statement: str, values: Sequence[Any], *, empties: bool = False) -> float:
    """A transaction with the statement; `empties` makes room for the same rows by another statement."""
    began = time.perf_counter()
    async with admin.transaction():
        await admin.execute(statement, *values)
    took = time.perf_counter() - began
    if empties:
        await admin.execute("TRUNCATE public.bare_events")
    return took
