"""`datalane events`: look at events, and at what became of each attempt to publish one.

Without `--workspace` a command looks across workspaces as the operator login, which sees operational columns only.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from datalane.cli.output import AsJson, print_json
from datalane.errors import InvalidInput
from datalane.settings import load_settings

if TYPE_CHECKING:
    from uuid import UUID

    from datalane.cli.event_lookup import EventsOffice

events = typer.Typer(help="List and show events, and the log of attempts to publish.", no_args_is_help=True)

Workspace = Annotated[
    str | None, typer.Option("--workspace", "-w", help="The id of one workspace; without it, every workspace.")
]
Type = Annotated[str | None, typer.Option("--type", "-t", help="Only this type of event.")]
Source = Annotated[str | None, typer.Option("--source", help="Only from this source system.")]
Since = Annotated[
    str | None, typer.Option("--since", help="Received at this moment or later: 2026-03-01 or 2026-03-01T09:30:00Z.")
]
Until = Annotated[str | None, typer.Option("--until", help="Received before this moment.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000, help="At most so many.")]


@events.command("list")
def list_events(
    workspace: Workspace = None,
    event_type: Type = None,
    source: Source = None,
    subject: Annotated[str | None, typer.Option("--subject", help="Only of this subject.")] = None,
    correlation: Annotated[str | None, typer.Option("--correlation", help="Only with this correlation id.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 25,
    as_json: AsJson = False,
) -> None:
    """List events, newest first, without their payloads."""
    from datalane.cli.event_tables import print_events
    from datalane.integrations.events.searching import EventFilter

    home = _id(workspace, "a workspace")
    asked = EventFilter(event_type, source, subject, correlation, _moment(since, "since"), _moment(until, "until"))
    rows = asyncio.run(_office().list_events(home, asked, limit))
    if as_json:
        print_json({"events": rows})
    else:
        print_events(rows, with_workspace=home is None)


@events.command()
def show(
    event_id: Annotated[str, typer.Argument(metavar="ID", help="The event's id.", show_default=False)],
    workspace: Workspace = None,
    as_json: AsJson = False,
) -> None:
    """Show one event with its payload."""
    from datalane.cli.event_tables import print_event

    wanted = _id(event_id, "an event")
    assert wanted is not None
    found = asyncio.run(_office().get_event(_id(workspace, "a workspace"), wanted))
    if as_json:
        print_json({"event": found})
    else:
        print_event(found)


@events.command()
def ingestion(
    workspace: Workspace = None,
    status: Annotated[str | None, typer.Option("--status", "-s", help="Only attempts that came to this.")] = None,
    event_type: Type = None,
    source: Source = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 25,
    as_json: AsJson = False,
) -> None:
    """List attempts to publish, newest first, and what became of each: its status, and why."""
    from typing import cast, get_args

    from datalane.cli.event_tables import print_attempts
    from datalane.integrations.events.schemas import Status
    from datalane.integrations.events.searching import IngestionFilter

    if status is not None and status not in get_args(Status):
        raise InvalidInput(f"there is no status {status}; there are {', '.join(get_args(Status))}")
    home = _id(workspace, "a workspace")
    came_to = cast("Status | None", status)
    asked = IngestionFilter(came_to, event_type, source, _moment(since, "since"), _moment(until, "until"))
    rows = asyncio.run(_office().list_ingestion(home, asked, limit))
    if as_json:
        print_json({"attempts": rows})
    else:
        print_attempts(rows, with_workspace=home is None)


def _office() -> EventsOffice:
    from datalane.cli.event_lookup import EventsOffice

    return EventsOffice(load_settings())


def _id(text: str | None, what: str) -> UUID | None:
    from uuid import UUID

    try:
        return None if text is None else UUID(text)
    except ValueError:
        raise InvalidInput(f"{text!r} is not the id of {what}") from None


def _moment(text: str | None, name: str) -> datetime | None:
    from datalane.contracts.storable import read_date

    try:
        return None if text is None else read_date(text)
    except ValueError as error:
        raise InvalidInput(f"--{name} {error}") from None
