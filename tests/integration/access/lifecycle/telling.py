"""Sources that tell, and what their signals come to."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from datalane.access.entitlements.service import get_plan
from datalane.access.lifecycle import service
from datalane.access.lifecycle.folding import Told
from datalane.access.lifecycle.schemas import DemoAccessStatus, NewSignal, SignalReceipt
from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.db.transaction import Transaction

NOON = datetime(2031, 3, 1, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
OF_A_PERIOD = ("activate", "renew", "reactivate")


def a_signal(signal: str, at: datetime = NOON, event: str | None = None, **said: Any) -> NewSignal:
    if signal == "activate":
        said.setdefault("plan_id", "pro")
    event = event or f"{signal}-{at:%d%H%M%S}"
    return NewSignal.model_validate(
        {"source_system": "billing", "source_event_id": event, "signal": signal, "occurred_at": at, **said}
    )


async def tell(database: Database, operator: Context, *signals: NewSignal, now: datetime = NOON) -> list[SignalReceipt]:
    async with database.transaction(operator) as tx:
        return await service.tell(tx, signals, now=now)


async def state(database: Database, context: Context, now: datetime = NOON) -> str:
    async with database.transaction(context) as tx:
        return (await service.get_status(tx, now)).state


async def status(database: Database, context: Context, now: Any = NOON) -> DemoAccessStatus:
    async with database.transaction(context) as tx:
        return await service.get_status(tx, now)


async def plan(database: Database, context: Context, at: Any = NOON) -> tuple[Any, ...] | None:
    async with database.transaction(context) as tx:
        held = await get_plan(tx, at + timedelta(milliseconds=1))
    return None if held is None else (held.plan_id, held.status, held.expires_at)


async def rows(database: Database, context: Context, table: str) -> int:
    async with database.transaction(context) as tx:
        counted: int = await tx.fetchval(
            f"SELECT count(*) FROM datalane.{table} WHERE workspace_id = $1", tx.workspace_id
        )
    return counted


async def events(database: Database, context: Context) -> list[str]:
    async with database.transaction(context) as tx:
        rows = await tx.fetch(
            "SELECT event_type, payload FROM datalane.events WHERE workspace_id = $1 AND event_type LIKE 'access.%'"
            " ORDER BY event_id",
            tx.workspace_id,
        )
    return [f"{row['event_type']} {row['payload']['from']}>{row['payload']['to']}" for row in rows]


async def all_there_is(tx: Transaction) -> dict[str, Any]:
    """The state, the history that holds, what each signal came to, and the plan; nothing of when it was told."""
    row = await tx.fetchrow(
        "SELECT state, plan_id, since, ends_at, grace_seconds, next_at, source_system, source_event_id, source_version,"
        " assigned_plan_id, assigned_status, assigned_until, sync_error"
        " FROM datalane.demo_access WHERE workspace_id = $1",
        tx.workspace_id,
    )
    history = await tx.fetch(
        "SELECT ordinal, from_state, to_state, plan_id, ends_at, grace_seconds, why, source_system, source_event_id, at"
        " FROM datalane.access_history WHERE workspace_id = $1 AND superseded_at IS NULL ORDER BY ordinal",
        tx.workspace_id,
    )
    outcomes = await tx.fetch(
        "SELECT source_system, source_event_id, outcome, reason FROM datalane.access_signals"
        " WHERE workspace_id = $1 ORDER BY source_system, source_event_id",
        tx.workspace_id,
    )
    plan = await tx.fetch("SELECT plan_id, status, expires_at, source FROM datalane.plan_at($1)", NOON + 400 * DAY)
    return {
        "access": dict(row or {}),
        "history": [tuple(each.values()) for each in history],
        "outcomes": [tuple(each.values()) for each in outcomes],
        "plan": [tuple(each.values()) for each in plan],
    }


@st.composite
def tellings(draw: st.DrawFn, most: int = 14, ahead: int = 0) -> list[Told]:
    """Signals of several sources in no order: some that count, one that does not, one that does so now and then,
    corrections, moments that are the same, and such as lie up to `ahead` hours after noon."""
    told = list[Told]()
    for number in range(draw(st.integers(1, most))):
        source = draw(st.sampled_from(["billing", "crm", "shop", "operator"]))
        at = NOON - draw(st.integers(-ahead, 12)) * HOUR
        signal = draw(
            st.sampled_from(["activate", "renew", "suspend", "resume", "end", "grace_over", "deactivate", "reactivate"])
        )
        if source == "operator" and draw(st.booleans()):
            signal = "correct"
        counts = source == "billing" or (source == "shop" and draw(st.booleans()))
        told.append(
            Told(
                source,
                f"e{number}",
                signal,  # type: ignore[arg-type]
                at,
                draw(st.integers(0, 9)) if counts else None,
                **_period(draw, signal, at),
            )
        )
    return told


def _period(draw: st.DrawFn, signal: str, at: datetime) -> dict[str, Any]:
    ends_at = at + draw(st.integers(1, 20)) * timedelta(minutes=45)
    grace = draw(st.sampled_from([0, 1800, 7200]))
    plan = draw(st.sampled_from(["pro", "trial"]))
    if signal == "activate":
        return {"plan_id": plan, "ends_at": draw(st.sampled_from([None, ends_at])), "grace_seconds": grace}
    if signal == "renew":
        return {"ends_at": ends_at, "grace_seconds": draw(st.sampled_from([None, grace]))}
    if signal == "reactivate":
        return draw(st.sampled_from([{}, {"plan_id": plan, "ends_at": ends_at}]))
    if signal == "end":
        return {"grace_seconds": draw(st.sampled_from([None, grace]))}
    if signal != "correct":
        return {}
    state = draw(st.sampled_from(["pending", "active", "grace", "suspended", "expired", "deactivated"]))
    said: dict[str, Any] = {"state": state, "plan_id": draw(st.sampled_from([None, plan]))}
    if state == "grace":
        said["grace_seconds"] = 3600
    elif state in {"active", "suspended"}:
        said["ends_at"] = draw(st.sampled_from([None, ends_at]))
    return said


def as_rows(told: Sequence[Told]) -> list[dict[str, Any]]:
    """As the verb takes them."""
    rows = []
    for each in told:
        row = {
            "source_system": each.source_system,
            "source_event_id": each.source_event_id,
            "signal": each.signal,
            "occurred_at": each.occurred_at.isoformat(),
            "source_version": each.source_version,
            "plan_id": each.plan_id,
            "ends_at": each.ends_at and each.ends_at.isoformat(),
            "grace_seconds": each.grace_seconds,
            "state": each.state,
        }
        if each.signal == "correct":
            row |= {"told_by": "Ada", "note": "She said so."}
        rows.append({name: value for name, value in row.items() if value is not None})
    return rows


def shuffled(told: Sequence[Told], seed: int) -> list[list[Told]]:
    """All of them in some order, some of them twice, in batches of some size."""
    dice = random.Random(seed)
    order = [*told, *(replace(each) for each in dice.sample(list(told), dice.randint(0, len(told))))]
    dice.shuffle(order)
    batches = list[list[Told]]()
    while order:
        size = dice.randint(1, 5)
        batches.append(order[:size])
        order = order[size:]
    return batches
