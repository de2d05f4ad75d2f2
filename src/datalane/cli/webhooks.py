"""`datalane webhooks`: look at endpoints and deliveries of a workspace, and what brings them back after an outage."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datalane.cli.inside import Workspace, inside
from datalane.cli.output import AsJson, print_json
from datalane.errors import InvalidInput
from datalane.settings import load_settings

if TYPE_CHECKING:
    from uuid import UUID

    from datalane.db.transaction import Transaction

STATUSES = ("pending", "failed", "delivered", "dead_letter")

webhooks = typer.Typer(
    help="List endpoints and deliveries; enable, disable and recover endpoints; replay deliveries.",
    no_args_is_help=True,
)

EndpointId = Annotated[str, typer.Argument(metavar="ENDPOINT", help="The endpoint's id.", show_default=False)]
OfEndpoint = Annotated[str | None, typer.Option("--endpoint", "-e", help="Only deliveries to this endpoint.")]
OfStatus = Annotated[str | None, typer.Option("--status", "-s", help="Only deliveries of this status.")]
OfType = Annotated[str | None, typer.Option("--type", "-t", help="Only events of this type.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count, and change nothing.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000, help="At most so many.")]


@webhooks.command()
def endpoints(workspace: Workspace, limit: Limit = 25, as_json: AsJson = False) -> None:
    """List endpoints, newest first."""
    from datalane.cli.webhook_tables import print_endpoints
    from datalane.integrations.webhooks.endpoints.service import list_endpoints

    page = inside(workspace, lambda tx: list_endpoints(tx, page_size=limit))
    if as_json:
        print_json({"endpoints": [each.model_dump(mode="json") for each in page.data]})
    else:
        print_endpoints(page.data)


@webhooks.command()
def deliveries(
    workspace: Workspace,
    endpoint: OfEndpoint = None,
    status: OfStatus = None,
    event_type: OfType = None,
    limit: Limit = 25,
    as_json: AsJson = False,
) -> None:
    """List deliveries, newest first."""
    from datalane.cli.webhook_tables import print_deliveries
    from datalane.integrations.webhooks.deliveries.service import DeliveryFilter, list_deliveries

    asked = DeliveryFilter(_endpoint(endpoint), _status(status, STATUSES), event_type)  # type: ignore[arg-type]
    page = inside(workspace, lambda tx: list_deliveries(tx, asked, page_size=limit))
    if as_json:
        print_json({"deliveries": [each.model_dump(mode="json") for each in page.data]})
    else:
        print_deliveries(page.data)


@webhooks.command()
def enable(endpoint_id: EndpointId, workspace: Workspace, as_json: AsJson = False) -> None:
    """Deliver what happens from now on. What was kept is delivered by `recover`."""
    from datalane.integrations.webhooks.endpoints.service import enable_endpoint

    _switch(enable_endpoint, endpoint_id, workspace, as_json)


@webhooks.command()
def disable(endpoint_id: EndpointId, workspace: Workspace, as_json: AsJson = False) -> None:
    """Deliver nothing for now, and keep what happens."""
    from datalane.integrations.webhooks.endpoints.service import disable_endpoint

    _switch(disable_endpoint, endpoint_id, workspace, as_json)


@webhooks.command()
def recover(endpoint_id: EndpointId, workspace: Workspace, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Deliver what was kept while an endpoint was not enabled, in order, at a bounded rate."""
    from datalane.cli.office import parse_id
    from datalane.integrations.webhooks.endpoints.recovery import recover_endpoint
    from datalane.integrations.webhooks.endpoints.schemas import EndpointRecovery

    rate = load_settings().webhooks.recovery_rate
    asked = EndpointRecovery(endpoint_id=parse_id(endpoint_id, "an endpoint's"), dry_run=dry_run)
    done = inside(workspace, lambda tx: recover_endpoint(tx, asked, rate))
    if as_json:
        print_json(done.model_dump(mode="json"))
    else:
        typer.echo(f"{done.deliveries:,} on their way within {done.seconds:,.0f} s, {done.remaining:,} remaining")


@webhooks.command()
def replay(
    workspace: Workspace,
    delivery: Annotated[str | None, typer.Option("--delivery", "-d", help="Only this delivery.")] = None,
    endpoint: OfEndpoint = None,
    status: OfStatus = None,
    event_type: OfType = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Deliver again what has ended, by default dead letters, up to 1,000 of them. Their webhook-ids stay."""
    from pydantic import ValidationError

    from datalane.cli.office import parse_id
    from datalane.integrations.webhooks.deliveries.schemas import DeliveriesToReplay, DeliveryChoice
    from datalane.integrations.webhooks.deliveries.service import replay as replay_deliveries

    if delivery is not None and (endpoint or status or event_type):
        raise InvalidInput("give a delivery or a filter, not both")
    try:
        where = DeliveriesToReplay(
            endpoint_id=_endpoint(endpoint),
            status=_status(status, STATUSES[2:]) or "dead_letter",  # type: ignore[arg-type]
            event_type=event_type,
        )
    except ValidationError:
        raise InvalidInput(f"{event_type!r} is no type of events") from None
    if delivery is None:
        asked = DeliveryChoice(where=where, dry_run=dry_run)
    else:
        asked = DeliveryChoice(ids=[parse_id(delivery, "a delivery's")], dry_run=dry_run)
    done = inside(workspace, lambda tx: replay_deliveries(tx, asked))
    if as_json:
        print_json(done.model_dump(mode="json"))
    else:
        typer.echo(f"{done.matched:,} matched, {done.replayed:,} replayed, {done.skipped:,} skipped")


def _switch(
    verb: Callable[[Transaction, UUID], Awaitable[Any]], endpoint_id: str, workspace: str, as_json: bool
) -> None:
    from datalane.cli.office import parse_id

    wanted = parse_id(endpoint_id, "an endpoint's")
    done = inside(workspace, lambda tx: verb(tx, wanted))
    if as_json:
        print_json(done.model_dump(mode="json"))
    else:
        typer.echo(f"{done.endpoint_id} is {done.status}")


def _endpoint(text: str | None) -> UUID | None:
    from datalane.cli.office import parse_id

    return None if text is None else parse_id(text, "an endpoint's")


def _status(text: str | None, known: tuple[str, ...]) -> str | None:
    if text is not None and text not in known:
        raise InvalidInput(f"there is no status {text!r} here; there are: {', '.join(known)}")
    return text
