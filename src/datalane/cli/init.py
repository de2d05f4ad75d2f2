"""`datalane init`: prepare an external Postgres and print the settings that reach it."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from datalane.cli.output import AsJson, print_json
from datalane.db.access import Access, Prepared
from datalane.db.roles import Roles


def init(
    admin_url: Annotated[
        str,
        typer.Option(
            envvar="DATALANE_ADMIN_URL",
            help="URL of an admin with CREATEROLE and CREATEDB; no superuser is needed. "
            "Better given by the variable: command lines can be seen by others.",
        ),
    ],
    database: Annotated[str, typer.Option(help="Database to prepare, made when it is missing.")] = "datalane",
    role_prefix: Annotated[str, typer.Option(help="Prefix of the role names; one per lane in a cluster.")] = "datalane",
    reset_passwords: Annotated[
        bool, typer.Option("--reset-passwords", help="Set new passwords although the roles have some.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Prepare an external Postgres: roles, database, extension, schema. Can be repeated."""
    from datalane.db.provision import prepare, was_prepared

    roles = Roles(role_prefix)
    access = None if was_prepared(admin_url, roles) and not reset_passwords else Access.generate()
    prepared = prepare(admin_url, database, access, roles)
    settings = _settings(prepared, roles)
    if as_json:
        print_json({"database": database, "passwords": "kept" if access is None else "new", "settings": settings})
        return
    if access is None:
        typer.echo(f"The database {database} is at the newest schema; roles and passwords were kept.")
        typer.echo("Use the settings of the first run, or --reset-passwords for new ones.")
        return
    typer.echo(f"# The database {database} is ready. These settings are secrets: they hold passwords.")
    for name, value in settings.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def _settings(prepared: Prepared, roles: Roles) -> dict[str, str]:
    return {**prepared.as_environment(), "DATALANE_ROLE_PREFIX": roles.prefix}
