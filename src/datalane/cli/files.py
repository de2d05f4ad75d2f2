"""`datalane files`: what lies in the file store beside the documents."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import typer

from datalane.cli.output import AsJson, print_json
from datalane.settings import load_settings

if TYPE_CHECKING:
    from datalane.settings import Settings

files = typer.Typer(help="Look at the stored originals of documents.", no_args_is_help=True)


@files.callback()
def _group() -> None:
    """A callback keeps a group with one command a group."""


@files.command()
def orphans(as_json: AsJson = False) -> None:
    """Count the originals that no document names and that a worker's next sweep removes."""
    counted = asyncio.run(_count(load_settings()))
    if as_json:
        print_json(counted)
        return
    homes = len(counted["workspaces"])
    typer.echo(
        f"{counted['orphans']:,} orphan{'' if counted['orphans'] == 1 else 's'} ({counted['bytes']:,} bytes) in "
        f"{homes:,} workspace{'' if homes == 1 else 's'}, of {counted['examined']:,} files"
    )


async def _count(settings: Settings) -> dict[str, Any]:
    from datalane.db.database import Database
    from datalane.db.home import connection_settings
    from datalane.db.roles import Roles
    from datalane.kit.clock import utc_now
    from datalane.knowledge.documents.sweep import Sweep
    from datalane.knowledge.files import FileStore

    examined, workspaces = 0, dict[str, dict[str, int]]()
    url, store = connection_settings(settings).database_url, FileStore(settings.files)
    database = await Database.connect(
        url, Roles(settings.role_prefix), size=1, statement_cache_size=settings.statement_cache_size
    )
    try:
        sweep = Sweep(database, store, settings.retention.orphaned_originals)
        async for workspace_id, found in sweep.find_all(utc_now()):
            examined += found.examined
            if found.orphans:
                known = workspaces.setdefault(str(workspace_id), {"orphans": 0, "bytes": 0})
                known["orphans"] += len(found.orphans)
                known["bytes"] += sum(file.size for file in found.orphans)
    finally:
        await database.close()
    return {
        "examined": examined,
        "orphans": sum(each["orphans"] for each in workspaces.values()),
        "bytes": sum(each["bytes"] for each in workspaces.values()),
        "workspaces": [{"workspace_id": home, **each} for home, each in workspaces.items()],
    }
