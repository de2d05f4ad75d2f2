"""What people see of events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from rich.table import Table
from rich.text import Text

from datalane.cli.job_tables import console

_LISTED = ("received_at", "event_id", "event_type", "source_system", "subject_id", "correlation_id")
_ATTEMPTS = ("received_at", "ingestion_status", "event_type", "source_system", "source_event_id", "event_id", "detail")


def print_events(rows: Sequence[Mapping[str, Any]], with_workspace: bool) -> None:
    _print(rows, _LISTED, with_workspace, "no events")


def print_attempts(rows: Sequence[Mapping[str, Any]], with_workspace: bool) -> None:
    _print(rows, _ATTEMPTS, with_workspace, "no attempts to publish")


def print_event(event: Mapping[str, Any]) -> None:
    """Its envelope, what has no value left out, and its payload."""
    table = Table(box=None, show_header=False)
    for name, value in event.items():
        if value is not None and name != "payload":
            table.add_row(name, Text(str(value)))
    out = console()
    out.print(table)
    out.print()
    out.print(Text(orjson.dumps(event["payload"], option=orjson.OPT_INDENT_2).decode()))


def _print(rows: Sequence[Mapping[str, Any]], names: Sequence[str], with_workspace: bool, nothing: str) -> None:
    if not rows:
        console().print(nothing)
        return
    shown = [name for name in names if name in rows[0]]
    table = Table(box=None)
    for name in (*(("workspace_id",) if with_workspace else ()), *shown):
        table.add_column(name, overflow="fold", no_wrap=name == "received_at")
    for row in rows:
        cells = [f"{row[name]:%Y-%m-%d %H:%M:%S}" if name == "received_at" else str(row[name] or "") for name in shown]
        table.add_row(*((str(row["workspace_id"]),) if with_workspace else ()), *(Text(cell) for cell in cells))
    console().print(table)
