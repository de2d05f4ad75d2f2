"""`datalane audit`: read the audit log, verify it, and print the heads of its chains to keep elsewhere."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datalane.cli.output import AsJson, print_json
from datalane.settings import load_settings

if TYPE_CHECKING:
    from uuid import UUID

    from datalane.cli.audit_operations import AuditOffice
    from datalane.engine.audit_verify import Verified

FAULTS_FOUND = 1

audit = typer.Typer(help="List audit records, verify the log, print the heads of its chains.", no_args_is_help=True)

Workspace = Annotated[
    str | None, typer.Option("--workspace", "-w", help="The id of one workspace; without it, every workspace.")
]


@audit.command("list")
def list_records(
    workspace: Annotated[str, typer.Option("--workspace", "-w", help="The id of the workspace.", show_default=False)],
    action: Annotated[str | None, typer.Option("--action", "-a", help="Only this action.")] = None,
    actor: Annotated[str | None, typer.Option("--actor", help="Only what this user did; an id.")] = None,
    resource_type: Annotated[str | None, typer.Option("--resource-type", help="Only this kind of resource.")] = None,
    resource_id: Annotated[str | None, typer.Option("--resource-id", help="Only this resource.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000, help="At most so many.")] = 25,
    as_json: AsJson = False,
) -> None:
    """List the audit records of a workspace, newest first."""
    from datalane.cli.audit_tables import print_records

    wanted = {
        "action": action,
        "actor_id": _parsed(actor, "a user"),
        "resource_type": resource_type,
        "resource_id": resource_id,
    }
    home = _parsed(workspace, "a workspace")
    assert home is not None
    records = asyncio.run(_office().list_records(home, wanted, limit))
    if as_json:
        from dataclasses import asdict

        print_json({"records": [asdict(record) for record in records]})
    else:
        print_records(records)


@audit.command()
def head(workspace: Workspace = None, as_json: AsJson = False) -> None:
    """Print the newest seal of each workspace; keep it elsewhere for `verify --heads`."""
    from dataclasses import asdict

    from datalane.cli.audit_tables import print_heads

    heads = asyncio.run(_office().heads(_parsed(workspace, "a workspace")))
    if as_json:
        print_json({"heads": [asdict(one) for one in heads]})
    else:
        print_heads(heads)


@audit.command()
def verify(
    workspace: Workspace = None,
    heads: Annotated[
        Path | None, typer.Option("--heads", help="A file that `datalane audit head --json` wrote earlier.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compute every hash of the audit log again and say what does not fit. Exits with 1 when something does not."""
    from datalane.cli.audit_operations import read_heads
    from datalane.cli.audit_tables import print_verified

    home = _parsed(workspace, "a workspace")
    kept = {} if heads is None else read_heads(heads)
    verified = asyncio.run(_verify(_office(), home, kept))
    if as_json:
        print_json(_summary(verified))
    else:
        print_verified(verified)
    if any(one.faults for one in verified):
        raise typer.Exit(FAULTS_FOUND)


async def _verify(office: AuditOffice, home: UUID | None, kept: Any) -> list[Verified]:
    return [one async for one in office.verify(home, kept)]


def _summary(verified: list[Verified]) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "ok": not any(one.faults for one in verified),
        "workspaces": len(verified),
        **{
            name: sum(getattr(one, name) for one in verified) for name in ("seals", "rows", "waiting", "details_erased")
        },
        "faults": [{"workspace_id": one.workspace_id, **asdict(fault)} for one in verified for fault in one.faults],
    }


def _office() -> AuditOffice:
    from datalane.cli.audit_operations import AuditOffice

    return AuditOffice(load_settings())


def _parsed(text: str | None, what: str) -> UUID | None:
    from datalane.cli.office import parse_id

    return None if text is None else parse_id(text, what)
