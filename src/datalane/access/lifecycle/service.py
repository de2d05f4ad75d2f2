"""Demo access: what is told of it by the operator and by what the operator trusts, and what everybody may read.

Every write is one verb of the database, which holds the workspace's row, folds all signals, and writes down what they
come to with the plan, the history, one event and one audit record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from datalane.access.lifecycle.folding import Folded, Position, advance, fold, told_of
from datalane.access.lifecycle.metrics import count_receipts
from datalane.access.lifecycle.schemas import (
    OPERATOR,
    AccessChange,
    AccessHistoryPage,
    Correction,
    DemoAccessStatus,
    KeptSignal,
    NewSignal,
    Settled,
    SignalReceipt,
)
from datalane.access.permissions import MEND_ACCESS, READ_ACCESS_HISTORY, READ_DEMO_ACCESS, SIGNAL_ACCESS
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.audit import record
from datalane.errors import LimitExceeded
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7

MOST_SIGNALS = 1_000
"""How many signals are taken at once."""

_OF_NOTES = frozenset({"told_by", "note"})
"""What is said of a signal that admins and the operator alone read; so not the audit log, which everybody reads."""

_queries = load_queries(__file__)


async def tell(tx: Transaction, signals: Sequence[NewSignal], now: datetime | None = None) -> list[SignalReceipt]:
    """Take signals, each once, in whatever order they come, and before their time; they count when it has come. Answers
    in the order given. What a person tells leaves an audit record of its own.

    Raises `Forbidden` for anybody but the system and `LimitExceeded` for more than 1,000.
    """
    SIGNAL_ACCESS.check(tx.context)
    said = [signal.model_dump(mode="json", exclude_none=True) for signal in signals]
    receipts = await _record(tx, said, now)
    for each, receipt in zip(said, receipts, strict=True):
        if "told_by" in each and receipt.receipt in {"accepted", "held"}:
            await record(tx, "demo_access.told", "demo_access", tx.workspace_id, after=_audited(each))
    return receipts


async def correct(tx: Transaction, correction: Correction, now: datetime | None = None) -> SignalReceipt:
    """The operator's word against what was told of before. It holds from now on, or from its moment; a signal that is
    ahead comes after it when its time has come.

    Raises `Forbidden` for anybody but the system.
    """
    SIGNAL_ACCESS.check(tx.context)
    said = correction.model_dump(mode="json", exclude_none=True)
    signal = {"source_event_id": str(uuid7()), **said, "source_system": OPERATOR, "signal": "correct"}
    [receipt] = await _record(tx, [signal], now)
    if receipt.receipt == "accepted":
        await record(tx, "demo_access.corrected", "demo_access", tx.workspace_id, after=_audited(signal))
    return receipt


async def get_status(tx: Transaction, now: datetime | None = None) -> DemoAccessStatus:
    """Where the access is at `now`: also where nothing was told, and when the sweep has not come yet."""
    READ_DEMO_ACCESS.check(tx.context)
    at = now or utc_now()
    row = await _queries.get_access(tx.connection, workspace_id=tx.workspace_id)
    waiting = await _queries.count_waiting(tx.connection, workspace_id=tx.workspace_id)
    folded = None
    if row is not None and waiting["ahead"] and row["next_at"] is not None and row["next_at"] <= at:
        signals = await _queries.read_signals(tx.connection, workspace_id=tx.workspace_id)
        folded = fold([told_of(each) for each in signals], at)
    return _status(None if row is None else dict(row), folded, waiting["held"], at)


async def list_history(tx: Transaction, cursor: str | None = None, page_size: int = 25) -> AccessHistoryPage:
    """Changes, the newest row first. Raises `InvalidInput` for a cursor that is not this list's."""
    READ_ACCESS_HISTORY.check(tx.context)
    rows = await _queries.list_history(
        tx.connection,
        workspace_id=tx.workspace_id,
        before=tx.read_id_cursor("access_history", cursor),
        page_size=page_size + 1,
    )
    page, following = tx.cut_page("access_history", rows, page_size, lambda row: [row["history_id"]])
    return AccessHistoryPage(data=[AccessChange(**row) for row in page], page_size=page_size, next_cursor=following)


async def list_signals(tx: Transaction, only_held: bool = False, most: int = 100) -> list[KeptSignal]:
    """What was told, the last that came first."""
    READ_ACCESS_HISTORY.check(tx.context)
    rows = await _queries.list_signals(tx.connection, workspace_id=tx.workspace_id, only_held=only_held, page_size=most)
    notes = await _queries.read_notes(
        tx.connection,
        source_systems=[row["source_system"] for row in rows],
        source_event_ids=[row["source_event_id"] for row in rows],
    )
    said = dict[tuple[str, str], dict[str, Any]]()
    for each in notes:
        names = ("told_by", "note") if each["done"] == "told" else ("released_by", "release_note")
        about = said.setdefault((each["source_system"], each["source_event_id"]), {})
        about |= dict(zip(names, (each["told_by"], each["note"]), strict=True))
    return [KeptSignal(**row, **said.get((row["source_system"], row["source_event_id"]), {})) for row in rows]


async def settle(tx: Transaction, *, reassign: bool = False, now: datetime | None = None) -> Settled:
    """Apply what was told and is not applied, and what time has done since. `reassign` assigns the plan again, whatever
    was assigned meanwhile. Nothing happens twice: what is applied stays."""
    MEND_ACCESS.check(tx.context)
    context = tx.context
    row = await _queries.settle(
        tx.connection,
        reassign=reassign,
        actor_id=context.actor_id,
        correlation_id=context.correlation_id,
        causation_id=context.causation_id,
        causation_depth=context.causation_depth,
        now=now,
    )
    tx.wake_workers()
    return Settled(**row)


async def release(
    tx: Transaction,
    told_by: str,
    note: str,
    *,
    source_system: str | None = None,
    source_event_id: str | None = None,
    now: datetime | None = None,
) -> int:
    """Give signals that are held their place: one, those of a source, or all. Answers how many."""
    MEND_ACCESS.check(tx.context)
    released: int = await _queries.release_signals(
        tx.connection,
        source_system=source_system,
        source_event_id=source_event_id,
        told_by=told_by,
        note=note,
        now=now,
    )
    if released:
        after = {"released": released, "source_system": source_system, "source_event_id": source_event_id}
        await record(tx, "demo_access.signals_released", "demo_access", tx.workspace_id, after=after)
    return released


async def _record(tx: Transaction, signals: Sequence[dict[str, Any]], now: datetime | None) -> list[SignalReceipt]:
    if len(signals) > MOST_SIGNALS:
        raise LimitExceeded(f"{len(signals):,} signals at once, the limit is {MOST_SIGNALS:,}")
    if not signals:
        return []
    context = tx.context
    rows = await _queries.record_signals(
        tx.connection,
        signals=list(signals),
        actor_id=context.actor_id,
        correlation_id=context.correlation_id,
        causation_id=context.causation_id,
        causation_depth=context.causation_depth,
        now=now,
    )
    tx.wake_workers()
    receipts = [SignalReceipt(**row) for row in rows]
    count_receipts(tx, [each.receipt for each in receipts])
    return receipts


def _audited(said: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if name not in _OF_NOTES}


def _status(row: dict[str, Any] | None, folded: Folded | None, held: int, now: datetime) -> DemoAccessStatus:
    known = row or {"state": "pending", "plan_id": None, "ends_at": None, "grace_seconds": 0, "version": 0}
    written = Position(known["state"], known["plan_id"], known["ends_at"], known["grace_seconds"])
    position = advance(written, now) if folded is None else folded.position
    reason = None
    if known.get("sync_error"):
        reason = f"what was told is not applied: {known['sync_error']}"
    elif known.get("difference"):
        reason = "what is written down differs from what the history says"
    since = known.get("since")
    if folded is not None:
        since = folded.since
    elif position.state != written.state:
        since = position.grace_ends_at if position.state == "expired" else position.ends_at
    led = known if folded is None or folded.led is None else asdict(folded.led)
    return DemoAccessStatus(
        status=position.state if reason is None else "pending_sync",
        state=position.state,
        reason=reason,
        plan_id=position.plan_id,
        since=since,
        until=position.deadline,
        ends_at=position.ends_at,
        grace_ends_at=position.grace_ends_at,
        held_signals=held,
        version=known["version"],
        last_synced_at=known.get("last_synced_at"),
        **{name: led.get(name) for name in ("source_system", "source_event_id", "source_version")},
    )
