"""What people see of the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from rich.table import Table
from rich.text import Text

from datalane.cli.job_tables import console
from datalane.engine.audit import AuditRecord
from datalane.engine.audit_verify import Head, Verified


def print_records(records: Sequence[AuditRecord]) -> None:
    if not records:
        console().print("no records")
        return
    table = Table(box=None)
    for name in ("at", "action", "resource", "actor", "before", "after"):
        table.add_column(name, overflow="fold", no_wrap=name == "at")
    for record in records:
        resource = ":".join(part for part in (record.resource_type, record.resource_id) if part)
        before, after = ("erased", "erased") if record.details_erased else map(_json, (record.before, record.after))
        table.add_row(
            f"{record.occurred_at:%Y-%m-%d %H:%M:%S}",
            *(Text(cell) for cell in (record.action, resource, str(record.actor_id), before, after)),
        )
    console().print(table)


def print_heads(heads: Sequence[Head]) -> None:
    if not heads:
        console().print("no seals yet")
        return
    table = Table(box=None)
    for name in ("workspace", "seal", "rows", "sealed", "hash"):
        table.add_column(name, overflow="fold")
    for head in heads:
        sealed_at = f"{head.sealed_at:%Y-%m-%d %H:%M:%S}"
        table.add_row(str(head.workspace_id), str(head.seal_no), f"{head.rows:,}", sealed_at, head.seal_hash)
    console().print(table)


def print_verified(verified: Sequence[Verified]) -> None:
    """A line for each fault under its workspace, and the sums."""
    out = console()
    for one in verified:
        if one.faults:
            out.print(f"workspace {one.workspace_id}")
            for fault in one.faults:
                out.print(Text(f"  {fault.message}"))
    faults = sum(len(one.faults) for one in verified)
    sums = {
        name: sum(getattr(one, name) for one in verified) for name in ("seals", "rows", "waiting", "details_erased")
    }
    out.print(
        f"{'the audit log is whole' if not faults else f'{faults:,} faults'}: {len(verified):,} workspaces, "
        f"{sums['seals']:,} seals, {sums['rows']:,} rows sealed, {sums['waiting']:,} waiting, "
        f"{sums['details_erased']:,} with details erased"
    )


def _json(value: Any) -> str:
    return "" if value is None else orjson.dumps(value).decode()
