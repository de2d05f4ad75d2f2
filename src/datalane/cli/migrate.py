"""`datalane migrate`: bring the schema up, take it down, say where it is. Runs as the maintenance login."""

from __future__ import annotations

from typing import Annotated

import typer

from datalane.cli.output import AsJson, print_json
from datalane.db.home import maintenance_url
from datalane.db.reaching import MAINTENANCE_URL
from datalane.db.revision import applied_revision, known_revisions, newest_revision
from datalane.db.roles import Roles
from datalane.errors import InvalidInput
from datalane.settings import Settings, load_settings

migrate = typer.Typer(help="Bring the database's schema up or down, or say where it is.", no_args_is_help=True)


@migrate.command()
def up(as_json: AsJson = False) -> None:
    """Migrate to the newest revision of this version."""
    from datalane.db.migrate import upgrade

    settings = load_settings()
    url, roles = maintenance_url(settings), Roles(settings.role_prefix)
    before = _applied(url, roles)
    upgrade(url, roles)
    _print_change(before, _applied(url, roles), as_json)


@migrate.command()
def down(
    revision: Annotated[str, typer.Argument(help="The revision to go back to, 0001 for example, or base.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: what the later revisions hold is dropped.")] = False,
    as_json: AsJson = False,
) -> None:
    """Go back to REVISION. What later revisions made is dropped, with its data."""
    from datalane.db.migrate import downgrade

    if revision not in {"base", *known_revisions()}:
        raise InvalidInput(f"there is no revision {revision}; known are base, {', '.join(known_revisions())}")
    settings = load_settings()
    url, roles = maintenance_url(settings), Roles(settings.role_prefix)
    before = _applied(url, roles)
    if not yes:
        typer.confirm(f"Drop everything that came after revision {revision}, with its data?", abort=True)
    downgrade(url, roles, revision)
    _print_change(before, _applied(url, roles), as_json)


@migrate.command()
def status(as_json: AsJson = False) -> None:
    """Say which revision the database has and which this version needs."""
    found = _status(load_settings())
    if as_json:
        print_json(found)
    else:
        mend = "run `datalane migrate up`" + (
            "" if found["applied"] else ", or `datalane init` if it was never prepared"
        )
        state = "up to date" if found["up_to_date"] else mend
        typer.echo(f"database {found['applied'] or 'not migrated'}, this version {found['newest']}: {state}")


def _status(settings: Settings) -> dict[str, str | bool | None]:
    applied, newest = _applied(maintenance_url(settings), Roles(settings.role_prefix)), newest_revision()
    return {"applied": applied, "newest": newest, "up_to_date": applied == newest}


def _applied(url: str, roles: Roles) -> str | None:
    return applied_revision(url, roles.owner, MAINTENANCE_URL)


def _print_change(before: str | None, after: str | None, as_json: bool) -> None:
    if as_json:
        print_json({"before": before, "after": after})
    elif before == after:
        typer.echo(f"nothing to do, the database is at {after or 'base'}")
    else:
        typer.echo(f"migrated from {before or 'base'} to {after or 'base'}")
