"""`datalane explain`: how the database answers each shape of a query of items, and which indexes nothing reads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datalane.cli.output import AsJson, print_json
from datalane.errors import InvalidInput, NotFound
from datalane.settings import load_settings

if TYPE_CHECKING:
    from uuid import UUID

    from datalane.cli.office import Office
    from datalane.db.database import Database
    from datalane.work.explain import Explanation, Index, Told

_NOTHING_TO_EXPLAIN = 1
_MOST_WORKSPACES = 2_000
"""Of how many workspaces the largest is looked for."""


def explain(
    workspace: Annotated[
        str | None,
        typer.Option("--workspace", "-w", help="The id of a workspace; without it, the one with most items."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show per shape of a query of items: plan, indexes, rows and time; then the indexes that nothing reads."""
    from datalane.cli.office import Office, parse_id
    from datalane.cli.output import print_fault
    from datalane.cli.progress import steps

    home = None if workspace is None else parse_id(workspace, "a workspace")
    try:
        with steps() as step, step("shapes") as told:
            explained = asyncio.run(_explain(Office(load_settings()), home, told))
    except NotFound as error:
        print_fault(error, as_json)
        raise SystemExit(_NOTHING_TO_EXPLAIN) from None
    if as_json:
        print_json(_as_dict(explained))
    else:
        _print(explained)


async def _explain(office: Office, workspace_id: UUID | None, told: Told) -> Explanation:
    from datalane.work.explain import explain_shapes

    async with office.database() as database:
        return await explain_shapes(database, workspace_id or await _largest(office, database), told=told)


async def _largest(office: Office, database: Database) -> UUID:
    """The operator knows which workspaces there are, and how many items one has is seen inside it alone.

    Raises `NotFound` when none has items, `InvalidInput` when there are too many to look into.
    """
    from datalane.contracts.context import Context
    from datalane.db.named_queries import load_queries
    from datalane.work import explain as work

    async with office.operator() as connection:
        rows = await load_queries(work.__file__, "explain.sql").list_workspaces(connection, most=_MOST_WORKSPACES + 1)
    if len(rows) > _MOST_WORKSPACES:
        raise InvalidInput(f"there are more than {_MOST_WORKSPACES:,} workspaces; name one with --workspace")
    largest: UUID | None = None
    most = 0
    for row in rows:
        async with database.transaction(Context.system(row["workspace_id"])) as tx:
            items = await work.count_items(tx)
        if items > most:
            largest, most = row["workspace_id"], items
    if largest is None:
        raise NotFound("no workspace has items, so there is nothing to explain; fill a lane with `datalane seed work`")
    return largest


def _as_dict(explained: Explanation) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        **asdict(explained),
        "without_shape": [index.name for index in explained.without_shape],
        "never_scanned": [index.name for index in explained.never_scanned],
    }


def _print(explained: Explanation) -> None:
    typer.echo(
        f"workspace {explained.workspace_id}, {explained.items:,} items; milliseconds of planning and execution\n"
    )
    width = max(len(each.shape) for each in explained.shapes)
    typer.echo(f"{'shape':{width}} {'p50':>8} {'p95':>8} {'rows':>5} {'blocks':>7}  plan")
    for each in explained.shapes:
        typer.echo(f"{each.shape:{width}} {each.p50:8.2f} {each.p95:8.2f} {each.rows:5} {each.blocks:7,}  {each.plan}")
    typer.echo("\nno shape reads:")
    _print_indexes(explained.without_shape)
    typer.echo("\nnever scanned since the statistics began, by whatever query:")
    _print_indexes(explained.never_scanned)
    kept = [index for index in explained.indexes if not index.is_only_read and not index.scans]
    if kept:
        typer.echo("\nnever scanned either, but they keep the data right:")
        _print_indexes(kept)


def _print_indexes(indexes: list[Index]) -> None:
    for index in indexes:
        typer.echo(f"  {index.name} of {index.table} ({index.kind}), {index.size / 2**20:,.1f} MiB")
    if not indexes:
        typer.echo("  none")
