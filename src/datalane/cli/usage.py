"""`datalane usage`: what a workspace has used, and corrections of it."""

from __future__ import annotations

from typing import Annotated

import typer

from datalane.cli.inside import By, Reason, Workspace, inside, moment, reason_of
from datalane.cli.output import AsJson, print_json

usage = typer.Typer(
    help="Show what is used of quotas, correct and reset it, and hold counters against their ledger.",
    no_args_is_help=True,
)

Quota = Annotated[str, typer.Argument(metavar="QUOTA", help="The key of a quota.", show_default=False)]
UseKey = Annotated[
    str | None,
    typer.Option("--key", "-k", help="The idempotency key: the same one is done once. A new one without it."),
]


@usage.command()
def show(workspace: Workspace, as_json: AsJson = False) -> None:
    """The quotas of the plan, and what is used of them."""
    from datalane.access.usage.service import list_counters
    from datalane.cli.usage_tables import print_counters

    found = inside(workspace, list_counters)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        print_counters(found.data)


@usage.command()
def ledger(
    quota: Quota,
    workspace: Workspace,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000, help="At most so many.")] = 25,
    as_json: AsJson = False,
) -> None:
    """Uses and corrections of a quota, the newest first."""
    from datalane.access.usage.service import list_ledger
    from datalane.cli.usage_tables import print_ledger

    page = inside(workspace, lambda tx: list_ledger(tx, quota, page_size=limit))
    if as_json:
        print_json({"ledger": [each.model_dump(mode="json") for each in page.data]})
    else:
        print_ledger(page.data)


@usage.command()
def correct(
    quota: Quota,
    workspace: Workspace,
    reason: Reason,
    units: Annotated[int, typer.Option("--units", "-u", help="Signed: -3 takes three back.")],
    key: UseKey = None,
    at: Annotated[str | None, typer.Option("--at", help="When they were used (ISO 8601); now without it.")] = None,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Correct what was counted, or add what was missed."""
    from datalane.access.usage import service

    occurred, named = moment(at, "--at"), key or _new_key()
    done = inside(
        workspace,
        lambda tx: service.correct(
            tx, quota, units, reason_of(reason, by), idempotency_key=named, occurred_at=occurred
        ),
    )
    if as_json:
        print_json({**done.model_dump(mode="json"), "idempotency_key": named})
        return
    said = "was corrected so before" if done.outcome == "replayed" else "corrected"
    typer.echo(f"{said}: {done.consumed_units:,} units are used in that period")


@usage.command()
def reset(
    quota: Quota, workspace: Workspace, reason: Reason, key: UseKey = None, by: By = None, as_json: AsJson = False
) -> None:
    """Begin a quota's period again from nothing, by a correction of all that was used."""
    from datalane.access.usage import service

    named = key or _new_key()
    used = inside(workspace, lambda tx: service.reset(tx, quota, reason_of(reason, by), idempotency_key=named))
    if as_json:
        print_json({"taken_back": used, "idempotency_key": named})
    else:
        typer.echo(f"{used:,} units were taken back")


@usage.command()
def differences(workspace: Workspace, as_json: AsJson = False) -> None:
    """Counters that are not what their ledger says; exit code 1 when there are any."""
    from datalane.access.usage.service import find_differences
    from datalane.cli.usage_tables import print_differences

    found = inside(workspace, find_differences)
    if as_json:
        print_json({"differences": [each.model_dump(mode="json") for each in found]})
    else:
        print_differences(found)
    if found:
        raise typer.Exit(1)


@usage.command()
def repair(quota: Quota, workspace: Workspace, reason: Reason, by: By = None, as_json: AsJson = False) -> None:
    """Make the counters of a quota what their ledger says again."""
    from datalane.access.usage import service

    mended = inside(workspace, lambda tx: service.repair(tx, quota, reason_of(reason, by)))
    if as_json:
        print_json({"repaired": mended})
    else:
        typer.echo(f"{mended:,} counters were repaired")


def _new_key() -> str:
    from datalane.kit.ids import uuid7

    return f"operator:{uuid7()}"
