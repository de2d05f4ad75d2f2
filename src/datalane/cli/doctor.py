"""`datalane doctor`: what is wrong with this machine, these settings or this database, and how to mend it."""

from __future__ import annotations

from typing import Annotated

import typer

from datalane.cli.output import AsJson, print_json
from datalane.cli.report import Check, State

_MARKS = {State.OK: "ok  ", State.WARN: "warn", State.FAIL: "FAIL"}


def doctor(
    as_json: AsJson = False,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Port to check instead of the set one.")] = None,
) -> None:
    """Check environment, settings and database, and say how to mend each fault."""
    from datalane.cli.checks import run_checks

    checks = run_checks(port)
    failed = any(check.state is State.FAIL for check in checks)
    if as_json:
        print_json({"ok": not failed, "checks": [check.as_dict() for check in checks]})
    else:
        for check in checks:
            _print(check)
    raise typer.Exit(1 if failed else 0)


def _print(check: Check) -> None:
    typer.echo(f"{_MARKS[check.state]}  {check.name}: {check.message}")
    if check.mend:
        typer.echo(f"      mend: {check.mend}")
