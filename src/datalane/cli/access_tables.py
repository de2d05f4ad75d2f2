"""What people see of demo access."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.table import Table
from rich.text import Text

from datalane.access.lifecycle.schemas import AccessChange, DemoAccessStatus, KeptSignal, Reconciled
from datalane.cli.job_tables import console
from datalane.cli.output import printable


def print_status(shown: DemoAccessStatus) -> None:
    table = Table(box=None, show_header=False)
    source = f"{shown.source_system}/{shown.source_event_id}" if shown.source_system else ""
    rows = {
        "status": shown.status,
        "state": shown.state,
        "reason": shown.reason or "",
        "plan": shown.plan_id or "",
        "since": _moment(shown.since),
        "until": _moment(shown.until),
        "told by": source if shown.source_version is None else f"{source} version {shown.source_version}",
        "last synced": _moment(shown.last_synced_at),
        "held signals": str(shown.held_signals),
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, Text(printable(value)))
    console().print(table)


def print_changes(changes: Sequence[AccessChange]) -> None:
    if not changes:
        console().print("no changes")
        return
    table = _table("#", "at", "from", "to", "plan", "until", "why", "told by", "superseded")
    for each in changes:
        source = f"{each.source_system}/{each.source_event_id}" if each.source_system else ""
        row = (
            str(each.ordinal),
            _moment(each.at),
            each.from_state,
            each.to_state,
            each.plan_id or "",
            _moment(each.ends_at),
        )
        table.add_row(*map(Text, (*row, each.why, printable(source), _moment(each.superseded_at))))
    console().print(table)


def print_signals(signals: Sequence[KeptSignal]) -> None:
    if not signals:
        console().print("no signals")
        return
    table = _table("source", "id", "version", "signal", "occurred", "received", "outcome", "reason", "conflicts")
    for each in signals:
        said = f"{each.signal} {each.state}" if each.state else each.signal
        version = "" if each.source_version is None else str(each.source_version)
        row = (printable(each.source_system), printable(each.source_event_id), version, said, _moment(each.occurred_at))
        table.add_row(
            *map(Text, (*row, _moment(each.received_at), each.outcome, each.reason or "", str(each.conflicts or "")))
        )
    console().print(table)


def print_differences(found: Reconciled) -> None:
    if not found.differences:
        console().print(f"{found.state}, by {found.signals:,} signals; nothing differs")
        return
    table = _table("field", "expected", "found")
    for each in found.differences:
        table.add_row(*(Text(printable(str(cell))) for cell in (each.field, each.expected, each.found)))
    console().print(table)
    console().print("repaired" if found.repaired else "not repaired")


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


def _table(*names: str) -> Table:
    table = Table(box=None)
    for name in names:
        table.add_column(name, overflow="fold")
    return table
