"""`datalane seed`: fill a lane with made-up data, the same whenever it is made."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datalane.cli.output import AsJson, print_json
from datalane.settings import load_settings

if TYPE_CHECKING:
    from datalane.settings import Settings
    from datalane.work.seeding.fill import Told
    from datalane.work.seeding.plan import Plan

_INTERRUPTED = 130

seed = typer.Typer(help="Fill a lane with made-up data.", no_args_is_help=True)


@seed.callback()
def _group() -> None:
    """A callback keeps a group with one command a group."""


@seed.command()
def work(
    items: Annotated[int, typer.Option(help="Items of the large workspace.")] = 1_000_000,
    workspaces: Annotated[int, typer.Option(help="Small workspaces beside it, of 20 items each.")] = 1_000,
    seed: Annotated[int, typer.Option(help="The same seed makes the same items.")] = 1,
    as_json: AsJson = False,
) -> None:
    """One workspace with many items beside many small ones. Meant for a lane to try things on: nothing removes it.

    It adds accounts and workspaces to the lane. An interrupt leaves whole slices, and the same command goes on.
    """
    from datalane.cli.progress import steps
    from datalane.work.seeding.plan import Plan

    settings, plan = load_settings(), Plan(items, workspaces, seed)
    try:
        with steps() as step, step("items") as told:
            seeded = asyncio.run(_seed(settings, plan, told))
    except KeyboardInterrupt:
        typer.echo(
            "stopped: what is there is whole slices. Run the same command again to go on; nothing removes what is "
            "there but the end of its database",
            err=True,
        )
        raise SystemExit(_INTERRUPTED) from None
    if as_json:
        print_json(seeded)
    else:
        _print(seeded)


async def _seed(settings: Settings, plan: Plan, told: Told) -> dict[str, Any]:
    from dataclasses import asdict

    from datalane.db.database import Database
    from datalane.db.home import connection_settings
    from datalane.db.roles import Roles
    from datalane.db.vacuum import vacuum_tables
    from datalane.work.seeding.fill import CONNECTIONS, TABLES, seed_work

    addresses, roles = connection_settings(settings), Roles(settings.role_prefix)
    database = await Database.connect(
        addresses.database_url,
        roles,
        size=CONNECTIONS,
        statement_cache_size=settings.statement_cache_size,
        limits=settings.limits,
        jobs=settings.jobs,
    )
    try:
        seeded = await seed_work(database, plan, settings.sessions, told)
    finally:
        await database.close()
    began = time.perf_counter()
    if addresses.maintenance_url:
        await vacuum_tables(addresses.maintenance_url, roles, TABLES)
    vacuumed = time.perf_counter() - began if addresses.maintenance_url else None
    return {**asdict(seeded), "vacuum_seconds": vacuumed}


def _print(seeded: dict[str, Any]) -> None:
    total = seeded["items"] + seeded["workspaces"] * seeded["items_each"]
    typer.echo(f"added {seeded['added']:,} of {total:,} items in {seeded['seconds']:.1f} s")
    typer.echo(
        f"workspace {seeded['workspace_id']} has {seeded['items']:,}, {seeded['workspaces']:,} others have 20 each"
    )
    if seeded["password"]:
        typer.echo(f"sign in as {seeded['email']} with the password {seeded['password']}")
    if seeded["vacuum_seconds"] is None:
        typer.echo(
            "not vacuumed, as DATALANE_MAINTENANCE_URL is not set: plans and counts are at their best once autovacuum "
            "has been there"
        )
    else:
        typer.echo(f"vacuumed and analysed in {seeded['vacuum_seconds']:.1f} s")
