"""What people see of jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from datalane.engine.jobs import JobChange, JobState

_PIPED_WIDTH = 200
"""Columns of a table that goes to a pipe, where there is no terminal to ask."""


def print_jobs(jobs: Sequence[Mapping[str, Any]], with_workspace: bool) -> None:
    if not jobs:
        console().print("no jobs")
        return
    table = Table(box=None)
    for name in ("id", *(("workspace",) if with_workspace else ()), "kind", "status", "attempts", "queued", "error"):
        table.add_column(name, overflow="fold", no_wrap=name in ("status", "attempts", "queued"))
    for job in jobs:
        table.add_row(
            str(job["id"]),
            *((str(job["workspace_id"]),) if with_workspace else ()),
            Text(job["kind"]),
            job["status"],
            f"{job['attempt_count']}/{job['max_attempts']}",
            _moment(job["queued_at"]),
            Text(job["dead_letter_reason"] or job["last_error_class"] or ""),
        )
    console().print(table)


def print_job(job: JobState, changes: Sequence[JobChange]) -> None:
    """Its fields, those without a value left out, and its history."""
    table = Table(box=None, show_header=False)
    for field in fields(job):
        value = getattr(job, field.name)
        if value is not None:
            table.add_row(field.name, Text(_shown(value)))
    out = console()
    out.print(table)
    out.print()
    out.print(_history(changes) if changes else "no change of status yet")


def _history(changes: Sequence[JobChange]) -> Table:
    table = Table(box=None)
    for name in ("at", "from", "to", "attempt", "worker", "error", "reason"):
        table.add_column(name, overflow="fold")
    for change in changes:
        error = ": ".join(part for part in (change.error_class, change.error_message) if part)
        table.add_row(
            f"{change.at:%Y-%m-%d %H:%M:%S.%f}"[:-3],
            change.from_status,
            change.to_status,
            str(change.attempt),
            Text(change.worker or ""),
            Text(error),
            Text(change.reason or ""),
        )
    return table


def _shown(value: Any) -> str:
    if isinstance(value, datetime):
        return _moment(value)
    return orjson.dumps(value).decode() if isinstance(value, dict) else str(value)


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def console() -> Console:
    """As wide as the terminal, or wide enough for a table."""
    terminal = Console(highlight=False)
    return terminal if terminal.is_terminal else Console(highlight=False, width=_PIPED_WIDTH)
