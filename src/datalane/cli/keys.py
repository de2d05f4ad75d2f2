"""`datalane keys`: which master key the workspaces' data keys are under, and wrapping them anew."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from datalane.cli.output import AsJson, print_json
from datalane.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from datalane.cli.key_operations import DataKey, KeysOffice, Rewrapped

FAULTS_FOUND = 1

keys = typer.Typer(help="List the workspaces' data keys, and wrap them under a new master key.", no_args_is_help=True)


Workspace = Annotated[
    str | None, typer.Option("--workspace", "-w", help="The id of one workspace; without it, every workspace.")
]


@keys.command("list")
def list_keys(workspace: Workspace = None, as_json: AsJson = False) -> None:
    """List which workspace's data key is under which master key. No key is shown."""
    from dataclasses import asdict

    from datalane.cli.key_operations import count_by_master_key

    listed = asyncio.run(_office().list_keys(_parsed(workspace)))
    if as_json:
        print_json({"master_keys": count_by_master_key(listed), "data_keys": [asdict(key) for key in listed]})
    else:
        _print_keys(listed)


@keys.command()
def rewrap(workspace: Workspace = None, as_json: AsJson = False) -> None:
    """Wrap the data keys that are under an older master key under the one that is set. Exits with 1 when one stays."""
    outcome = asyncio.run(_rewrap(_office(), _parsed(workspace)))
    if as_json:
        print_json(outcome.as_dict())
    else:
        _print_outcome(outcome)
    if outcome.failed:
        raise typer.Exit(FAULTS_FOUND)


async def _rewrap(office: KeysOffice, home: UUID | None) -> Rewrapped:
    from datalane.cli.progress import steps

    with steps() as step, step("data keys") as told:
        return await office.rewrap(told, home)


def _print_keys(listed: Sequence[DataKey]) -> None:
    from rich.table import Table

    from datalane.cli.job_tables import console
    from datalane.cli.key_operations import count_by_master_key

    out = console()
    if not listed:
        out.print("no workspace keeps a secret yet")
        return
    table = Table(box=None)
    for name in ("workspace", "master key", "state", "wrapped"):
        table.add_column(name, overflow="fold")
    for key in listed:
        table.add_row(str(key.workspace_id), key.master_key_id, key.state, f"{key.wrapped_at:%Y-%m-%d %H:%M:%S}")
    out.print(table)
    for counted in count_by_master_key(listed):
        out.print("{data_keys:,} under {master_key_id}, which is {state}".format(**counted))


def _print_outcome(outcome: Rewrapped) -> None:
    for fault in outcome.failed:
        typer.echo(f"workspace {fault.workspace_id}: {fault.message}")
    typer.echo(
        f"{outcome.rewrapped:,} data keys wrapped under {outcome.master_key_id}, {outcome.current:,} were already, "
        f"{len(outcome.failed):,} stay as they are"
    )


def _office() -> KeysOffice:
    from datalane.cli.key_operations import KeysOffice

    return KeysOffice(load_settings())


def _parsed(workspace: str | None) -> UUID | None:
    from datalane.cli.office import parse_id

    return None if workspace is None else parse_id(workspace, "a workspace")
