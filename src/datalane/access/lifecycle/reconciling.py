"""Reconciling: what the signals come to is decided anew, and compared with all that was written down and is enforced.

The database decides in SQL when it writes; here it is decided in Python, from the same signals, so that a fault of one
of the two is found too, beside what somebody changed by hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Any

from pydantic import TypeAdapter

from datalane.access.entitlements import service as entitlements
from datalane.access.entitlements.schemas import HeldPlan
from datalane.access.lifecycle.folding import Folded, Position, advance, fold, outcome_of, told_of
from datalane.access.lifecycle.metrics import count_differences
from datalane.access.lifecycle.schemas import AccessDifference, Reconciled
from datalane.access.lifecycle.service import settle
from datalane.access.lifecycle.states import State, standing_of
from datalane.access.permissions import MEND_ACCESS
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction

MOST_DIFFERENCES = 100
"""How many are told and kept; the first of them say what is wrong."""
RECONCILING = timedelta(days=1)
"""After how long an access is reconciled again."""
LOOKING_AGAIN = timedelta(minutes=10)
"""The same while something differs."""

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


@dataclass(frozen=True, slots=True)
class _Seen:
    """`due` says that something has come about since the last settling, and is not written down."""

    signals: int
    state: State
    differences: list[AccessDifference]
    due: bool


async def reconcile(tx: Transaction, *, repair: bool = False, now: datetime | None = None) -> Reconciled:
    """Compare, and keep what was found; with `repair` settle anew and compare again. Where nothing differs, what is due
    is settled and compared as well.

    Raises `Forbidden` for anybody but the system.
    """
    MEND_ACCESS.check(tx.context)
    clock: datetime = await _queries.lock_access(tx.connection)
    at = now or clock
    seen = await _look(tx, at)
    if seen.due and not seen.differences:
        await settle(tx, now=at)
        seen = await _look(tx, at)
    found = left = seen.differences
    if repair and found:
        await settle(tx, reassign=any(each.field.startswith("plan.") for each in found), now=at)
        left = (await _look(tx, at)).differences
    await _queries.note_difference(
        tx.connection,
        difference=_JSON.dump_python(left[:MOST_DIFFERENCES], mode="json"),
        again=LOOKING_AGAIN if left else RECONCILING,
        now=at,
    )
    count_differences(tx, [each.field for each in found])
    return Reconciled(
        workspace_id=tx.workspace_id,
        state=seen.state,
        signals=seen.signals,
        differences=found[:MOST_DIFFERENCES],
        repaired=bool(found) and not left,
    )


async def _look(tx: Transaction, at: datetime) -> _Seen:
    """What was written down is compared with what the signals came to when it was, at `updated_at`; what is enforced,
    with where that is by now."""
    row = await _queries.get_access(tx.connection, workspace_id=tx.workspace_id)
    signals = await _queries.read_signals(tx.connection, workspace_id=tx.workspace_id)
    told = [told_of(each) for each in signals]
    state = fold(told, at).position.state
    if row is None and not signals:
        return _Seen(0, state, [], False)
    folded = fold(told, at if row is None else min(row["updated_at"], at))
    history = await _queries.read_history(tx.connection, workspace_id=tx.workspace_id)
    plan = await entitlements.get_plan(tx, at)
    known = {} if row is None else row
    differences = [
        *_of_row(known, folded),
        *_of_outcomes(signals, folded),
        *_of_history(history, folded),
        *_of_plan(known, plan, advance(folded.position, at)),
    ]
    return _Seen(len(signals), state, differences, folded.next_at is not None and folded.next_at <= at)


def _of_row(row: Mapping[str, Any], folded: Folded) -> Iterator[AccessDifference]:
    expected = {
        "state": folded.position.state,
        "plan_id": folded.position.plan_id,
        "ends_at": folded.position.ends_at,
        "grace_seconds": folded.position.grace_seconds,
        "next_at": folded.next_at,
    }
    for name, value in expected.items():
        if row.get(name) != value:
            yield AccessDifference(field=f"access.{name}", expected=value, found=row.get(name))
    if row.get("sync_error"):
        yield AccessDifference(field="access.sync_error", expected=None, found=row["sync_error"])


def _of_outcomes(signals: Sequence[Mapping[str, Any]], folded: Folded) -> Iterator[AccessDifference]:
    for row in signals:
        reason = folded.outcomes[row["source_system"], row["source_event_id"]]
        expected = (outcome_of(reason), reason)
        if (row["outcome"], row["reason"]) != expected:
            name = f"signal.{row['source_system']}/{row['source_event_id']}"
            yield AccessDifference(field=name, expected=list(expected), found=[row["outcome"], row["reason"]])


def _of_history(history: Sequence[Mapping[str, Any]], folded: Folded) -> Iterator[AccessDifference]:
    expected = [
        (
            *(step.before, step.after.state, step.after.plan_id, step.after.ends_at, step.after.grace_seconds),
            *(step.why, step.source_system, step.source_event_id, step.at),
        )
        for step in folded.steps
    ]
    found = [tuple(row[name] for name in _STEP) for row in history]
    for place, (should, stands) in enumerate(zip_longest(expected, found)):
        if should != stands:
            yield AccessDifference(field=f"history.{place + 1}", expected=_named(should), found=_named(stands))


def _of_plan(row: Mapping[str, Any], plan: HeldPlan | None, position: Position) -> Iterator[AccessDifference]:
    """What is enforced. A grace that nobody wrote down yet is enforced as enabled, since its end is."""
    standing = standing_of(position.state)
    if standing == "disabled":
        if plan is not None and plan.status != "disabled":
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
