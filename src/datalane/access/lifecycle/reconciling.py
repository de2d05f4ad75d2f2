"""Reconciling: what the signals come to is decided anew, and compared with all that was written down and is enforced.

The database decides in SQL when it writes; here it is decided in Python, from the same signals, so that a fault of one
of the two is found too, beside what somebody changed by hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter

from datalane.access.entitlements import service as entitlements
from datalane.access.entitlements.schemas import HeldPlan
from datalane.access.lifecycle.folding import Folded, Position, Told, fold
from datalane.access.lifecycle.metrics import count_differences
from datalane.access.lifecycle.schemas import AccessDifference, Reconciled
from datalane.access.lifecycle.service import settle
from datalane.access.lifecycle.states import standing_of
from datalane.access.permissions import MEND_ACCESS
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction

MOST_DIFFERENCES = 100
"""How many are told; the first of them say what is wrong."""

_queries = load_queries(__file__)
_JSON: TypeAdapter[Any] = TypeAdapter(Any)
_STEP = (
    "from_state",
    "to_state",
    "plan_id",
    "ends_at",
    "grace_seconds",
    "why",
    "source_system",
    "source_event_id",
    "at",
)


async def reconcile(tx: Transaction, *, repair: bool = False, now: datetime | None = None) -> Reconciled:
    """Compare, and keep what was found; with `repair` settle anew and compare again.

    Raises `Forbidden` for anybody but the system.
    """
    MEND_ACCESS.check(tx.context)
    clock: datetime = await _queries.lock_access(tx.connection)
    at = now or clock
    signals = [dict(row) for row in await _queries.read_signals(tx.connection, workspace_id=tx.workspace_id)]
    folded = fold([_told(row) for row in signals], at)
    found = await _compare(tx, signals, folded, at)
    repaired = False
    if repair and found:
        await settle(tx, reassign=any(each.field.startswith("plan.") for each in found), now=at)
        signals = [dict(row) for row in await _queries.read_signals(tx.connection, workspace_id=tx.workspace_id)]
        left = await _compare(tx, signals, folded, at)
        repaired = not left
    else:
        left = found
    await _queries.note_difference(tx.connection, difference=_JSON.dump_python(left, mode="json"), now=at)
    count_differences(tx, [each.field for each in found])
    return Reconciled(
        workspace_id=tx.workspace_id,
        state=folded.position.state,
        signals=len(signals),
        differences=found[:MOST_DIFFERENCES],
        repaired=repaired,
    )


async def _compare(
    tx: Transaction, signals: Sequence[Mapping[str, Any]], folded: Folded, at: datetime
) -> list[AccessDifference]:
    row = await _queries.get_access(tx.connection, workspace_id=tx.workspace_id)
    if row is None and not signals:
        return []
    history = await _queries.read_history(tx.connection, workspace_id=tx.workspace_id)
    plan = await entitlements.get_plan(tx, at)
    return [
        *_of_row({} if row is None else row, folded.position, at),
        *_of_outcomes(signals, folded),
        *_of_history(history, folded),
        *_of_plan({} if row is None else row, plan, folded.position),
    ]


def _of_row(row: Mapping[str, Any], position: Position, at: datetime) -> Iterator[AccessDifference]:
    """An end that has passed and is not written down yet is no difference: readers see it as it is."""
    expected = {
        "state": position.state,
        "plan_id": position.plan_id,
        "ends_at": position.ends_at,
        "grace_seconds": position.grace_seconds,
    }
    deadline = row.get("next_at")
    for name, value in expected.items():
        found = row.get(name)
        if name == "state" and deadline is not None and deadline <= at:
            continue
        if found != value:
            yield AccessDifference(field=f"access.{name}", expected=value, found=found)
    if row.get("sync_error"):
        yield AccessDifference(field="access.sync_error", expected=None, found=row["sync_error"])


def _of_outcomes(signals: Sequence[Mapping[str, Any]], folded: Folded) -> Iterator[AccessDifference]:
    for row in signals:
        reason = folded.outcomes[row["source_system"], row["source_event_id"]]
        expected = ("applied" if reason is None else "ignored", reason)
        if (row["outcome"], row["reason"]) != expected:
            name = f"signal.{row['source_system']}/{row['source_event_id']}"
            yield AccessDifference(field=name, expected=list(expected), found=[row["outcome"], row["reason"]])


def _of_history(history: Sequence[Mapping[str, Any]], folded: Folded) -> Iterator[AccessDifference]:
    """What time did since the last settling is not there yet."""
    expected = [
        (
            *(step.before, step.after.state, step.after.plan_id, step.after.ends_at, step.after.grace_seconds),
            *(step.why, step.source_system, step.source_event_id, step.at),
        )
        for step in folded.steps
    ]
    found = [tuple(row[name] for name in _STEP) for row in history]
    due = [place for place, step in enumerate(folded.steps) if step.source_system is not None]
    least = max(due, default=-1) + 1
    for place in range(max(len(expected), len(found))):
        should = expected[place] if place < len(expected) else None
        stands = found[place] if place < len(found) else None
        if should != stands and (stands is not None or place < least):
            yield AccessDifference(field=f"history.{place + 1}", expected=_named(should), found=_named(stands))


def _of_plan(row: Mapping[str, Any], plan: HeldPlan | None, position: Position) -> Iterator[AccessDifference]:
    """What is enforced. A grace that nobody wrote down yet is enforced as enabled, since its end is."""
    standing = standing_of(position.state)
    if row.get("assigned_plan_id") is None and standing == "disabled":
        return
    if standing == "disabled":
        if plan is not None and plan.status != "disabled" and plan.source != "default":
            yield AccessDifference(field="plan.status", expected="disabled", found=plan.status)
        return
    if plan is None or plan.plan_id != position.plan_id:
        yield AccessDifference(field="plan.plan_id", expected=position.plan_id, found=plan and plan.plan_id)
    elif plan.status == "disabled":
        yield AccessDifference(field="plan.status", expected=standing, found=plan.status)
    elif plan.expires_at != position.grace_ends_at:
        yield AccessDifference(field="plan.expires_at", expected=position.grace_ends_at, found=plan.expires_at)


def _named(step: tuple[Any, ...] | None) -> dict[str, Any] | None:
    return None if step is None else dict(zip(_STEP, step, strict=True))


def _told(row: Mapping[str, Any]) -> Told:
    return Told(
        source_system=row["source_system"],
        source_event_id=row["source_event_id"],
        signal=row["signal"],
        occurred_at=row["occurred_at"],
        source_version=row["source_version"],
        plan_id=row["plan_id"],
        ends_at=row["ends_at"],
        grace_seconds=row["grace_seconds"],
        state=row["state"],
    )
