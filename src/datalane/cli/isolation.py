"""`datalane isolation`: the proof that no workspace reaches another's rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datalane.cli.output import AsJson, print_json

isolation = typer.Typer(help="The wall between workspaces, proved.", no_args_is_help=True)
_FAULTS_FOUND = 1


@isolation.callback()
def _group() -> None:
    """The wall between workspaces, proved."""


@isolation.command()
def prove(
    tables_file: Annotated[
        Path | None,
        typer.Option("--with", help="SQL file with tables of your own, run as the schema's owner and proved as well."),
    ] = None,
    app: Annotated[
        str | None, typer.Option(help="Your lane, as module:lane, whose routes and permissions are proved as well.")
    ] = None,
    table: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this table, as schema.table, and the verbs that reach it; no routes but those of --route. "
            "Repeatable."
        ),
    ] = None,
    route: Annotated[
        list[str] | None, typer.Option(help="Only routes whose path begins like this. Repeatable.")
    ] = None,
    mutants: Annotated[
        int | None,
        typer.Option(min=0, help="Try so many mutants of the database, spread over all of them. [default: all]"),
    ] = None,
    every: Annotated[
        int,
        typer.Option(min=1, help="Of the cells and mutants of the routes, try every n-th."),
    ] = 1,
    as_json: AsJson = False,
) -> None:
    """Try every table, verb, role and route of a scratch lane, then faults in it that must be noticed."""
    from functools import partial

    from datalane.cli.isolation_report import print_report
    from datalane.cli.isolation_routes import route_proof
    from datalane.cli.lanes import load_lane
    from datalane.cli.progress import steps
    from datalane.ops.isolation.prove import Selection
    from datalane.ops.isolation.prove import prove as prove_wall
    from datalane.ops.isolation.scratch import open_scratch

    load_lane(app)  # its permissions say who may use its tables
    selection = Selection(frozenset(table or ()), mutants)
    routes = None if table and not route else partial(route_proof, app=app, beginning=tuple(route or ()), every=every)
    with steps() as step, open_scratch(tables_file) as scratch:
        report = prove_wall(scratch, selection, step, routes)
    if as_json:
        print_json(report.as_dict())
    else:
        print_report(report)
    raise typer.Exit(0 if report.holds else _FAULTS_FOUND)
