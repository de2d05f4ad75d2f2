"""`datalane analytics`: export events to Parquet, retire tracked events, read anomalies and resolve them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datalane.cli.output import AsJson, print_json
from datalane.settings import load_settings

if TYPE_CHECKING:
    from datetime import datetime

    from datalane.cli.analytics_operations import AnalyticsOffice

analytics = typer.Typer(
    help="Export events, retire tracked ones, read and resolve anomalies of integrity.", no_args_is_help=True
)

Workspace = Annotated[str, typer.Option("--workspace", "-w", help="The id of the workspace.", show_default=False)]
_WHEN = "a date (midnight UTC) or a moment with its offset, in ISO 8601."


@analytics.command()
def export(
    workspace: Workspace,
    out: Annotated[Path, typer.Option("--out", "-o", help="The Parquet file to write.", show_default=False)],
    since: Annotated[str | None, typer.Option("--from", help=f"Only what happened from then on; {_WHEN}")] = None,
    until: Annotated[str | None, typer.Option("--to", help=f"Only what happened before then; {_WHEN}")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the valid events of a workspace to a Parquet file, whole or not at all."""
    from datalane.cli.office import parse_id
    from datalane.cli.progress import steps

    home, first, last = parse_id(workspace, "a workspace"), _moment(since), _moment(until)
    with steps() as step, step(str(out)) as progress:
        written = asyncio.run(_office().export(home, out, first, last, progress))
    if as_json:
        print_json({"events": written, "file": str(out)})
    else:
        typer.echo(f"{written:,} events in {out}")


@analytics.command()
def anomalies(
    workspace: Workspace,
    every: Annotated[bool, typer.Option("--all", help="Resolved ones too.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000, help="At most so many.")] = 25,
    as_json: AsJson = False,
) -> None:
    """List the anomalies of a workspace, the last to be detected first."""
    from datalane.cli.office import parse_id
    from datalane.cli.output import printable

    found = asyncio.run(_office().anomalies(parse_id(workspace, "a workspace"), None if every else "open", limit))
    if as_json:
        print_json({"anomalies": [each.model_dump(mode="json") for each in found]})
        return
    for each in found:
        seen, expected = each.observed_plan_id, each.expected_plan_id
        typer.echo(
            f"{each.anomaly_id}  {each.detected_at:%Y-%m-%d %H:%M}  {each.status:8}  {printable(each.event_name)}: saw "
            f"{printable(str(seen))}, enforced {printable(str(expected))} ({', '.join(each.differs)})"
        )
    if not found:
        typer.echo("no anomalies" if every else "no open anomalies")


@analytics.command()
def resolve(
    anomaly: Annotated[str, typer.Argument(help="The id of the anomaly.", show_default=False)],
    workspace: Workspace,
    by: Annotated[str, typer.Option("--by", help="Who found the cause.", show_default=False)],
    reason: Annotated[str, typer.Option("--reason", help="What the cause was.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Resolve an anomaly; who did and why goes into the audit log."""
    from datalane.cli.office import parse_id

    home, known = parse_id(workspace, "a workspace"), parse_id(anomaly, "an anomaly")
    resolved = asyncio.run(_office().resolve(home, known, by, reason))
    if as_json:
        print_json({"anomaly": resolved.model_dump(mode="json")})
    else:
        typer.echo(f"resolved {resolved.anomaly_id}")


@analytics.command()
def retire(
    event: Annotated[str, typer.Argument(help="The name of the tracked event.", show_default=False)],
    version: Annotated[int, typer.Option("--version", min=1, max=2**31 - 1, help="Its version.", show_default=False)],
    reason: Annotated[
        str, typer.Option("--reason", help="Why; workspaces see it in their tracking plan.", show_default=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Hold back, in every workspace, new events of a version that the application tracks."""
    retired = asyncio.run(_office().retire(event, version, reason))
    if as_json:
        print_json({"retired": retired})
    else:
        typer.echo("retired" if retired else "it was retired")


def _moment(text: str | None) -> datetime | None:
    from datalane.contracts.storable import read_date
    from datalane.errors import InvalidInput

    try:
        return None if text is None else read_date(text)
    except ValueError as error:
        raise InvalidInput(f"{text!r} {error}") from error


def _office() -> AnalyticsOffice:
    from datalane.cli.analytics_operations import AnalyticsOffice

    return AnalyticsOffice(load_settings())
