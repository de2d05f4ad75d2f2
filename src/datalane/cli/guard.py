"""`datalane guard`: hold every revision, and a live database, to the rules of the schema."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datalane.cli.output import AsJson, print_json
from datalane.db.revision import MIGRATIONS
from datalane.db.roles import Roles
from datalane.errors import ConfigurationError
from datalane.kit.clock import utc_now
from datalane.settings import load_settings

if TYPE_CHECKING:
    from datalane.ops.guard.waivers import Waiver

guard = typer.Typer(
    help="Hold the revisions and a database to the rules of the schema. Exit status 1: a rule is broken.",
    invoke_without_command=True,
)

Migrations = Annotated[
    Path | None, typer.Option("--migrations", help="A folder of revisions to check instead of the lane's own.")
]


@guard.callback()
def check(
    context: typer.Context,
    database_url: Annotated[
        str | None,
        typer.Option(
            envvar="DATALANE_GUARD_DATABASE_URL",
            help="A live database to check and to compare with the migrations; the lane's login will do. "
            "[default: a scratch database]",
        ),
    ] = None,
    files_only: Annotated[bool, typer.Option("--files-only", help="Read the files; start no database.")] = False,
    schema: Annotated[
        list[str] | None,
        typer.Option(help="A schema of the application whose every table must declare a policy class. Repeatable."),
    ] = None,
    waivers: Annotated[Path | None, typer.Option(help="File of waivers. [default: guard-waivers.toml]")] = None,
    migrations: Migrations = None,
    as_json: AsJson = False,
) -> None:
    """Check the revisions, a scratch database up, down and up again, and with a URL a live database."""
    if context.invoked_subcommand is not None:
        return
    from datalane.ops.guard.run import check_live, check_scratch, check_sources, judge

    folder, roles, schemas = migrations or MIGRATIONS, Roles(load_settings().role_prefix), schema or []
    if files_only and database_url is not None:
        raise ConfigurationError("--files-only and --database-url exclude each other; leave one out")
    answered = _read_waivers(waivers)
    found, notices, subjects = check_sources(folder), list[str](), {"revision", "release", "sql", "lock", "source"}
    if database_url is not None:
        more, notices = check_live(database_url, roles, schemas, folder)
        found, subjects = found + more, subjects | {"catalog", "drift"}
    elif not files_only:
        found, subjects = found + check_scratch(roles, folder, schemas), subjects | {"catalog"}
    report = judge(found, answered, utc_now().date(), notices, subjects)
    if as_json:
        print_json(report.as_dict())
    else:
        typer.echo(report.as_text())
    raise typer.Exit(0 if report.ok else 1)


@guard.command()
def freeze(migrations: Migrations = None, as_json: AsJson = False) -> None:
    """Record the checksums of the revisions that are not recorded yet: from then on they do not change."""
    from datalane.ops.guard.released import RECORD
    from datalane.ops.guard.released import freeze as record
    from datalane.ops.guard.revisions import read_revisions

    folder = migrations or MIGRATIONS
    frozen = record(folder, read_revisions(folder / "versions"))
    if as_json:
        print_json({"frozen": frozen, "record": str(folder / RECORD)})
    elif frozen:
        typer.echo(f"frozen: {', '.join(frozen)}; commit {folder / RECORD} with them")
    else:
        typer.echo("nothing to do, every revision is recorded")


def _read_waivers(path: Path | None) -> list[Waiver]:
    from datalane.ops.guard.waivers import WAIVERS_FILE, read_waivers

    if path is not None and not path.is_file():
        raise ConfigurationError(f"there is no file of waivers {path}")
    return read_waivers(path or Path(WAIVERS_FILE))
