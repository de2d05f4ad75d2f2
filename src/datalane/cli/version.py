"""`datalane version`."""

from __future__ import annotations

from importlib.metadata import version as installed_version

import typer

from datalane.cli.output import AsJson, print_json
from datalane.db.revision import newest_revision


def version(as_json: AsJson = False) -> None:
    """Print the version, and the schema revision it is written for."""
    number, revision = installed_version("datalane"), newest_revision()
    if as_json:
        print_json({"version": number, "schema": revision})
    else:
        typer.echo(f"datalane {number} (schema {revision})")
