"""`datalane access`: where the demo access of a workspace is and how it came to be, and the operator's word on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from datalane.cli.output import AsJson, print_json
from datalane.errors import InvalidInput
from datalane.settings import load_settings

if TYPE_CHECKING:
    from pydantic import BaseModel

    from datalane.access.lifecycle.schemas import SignalReceipt
    from datalane.db.transaction import Transaction

T = TypeVar("T")

access = typer.Typer(
    help="Look at the demo access of a workspace, tell and correct it, and mend what is not in sync.",
    no_args_is_help=True,
)

Workspace = Annotated[str, typer.Option("--workspace", "-w", help="The id of the workspace.")]
By = Annotated[str, typer.Option("--by", help="Who says so.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why.")]
At = Annotated[str | None, typer.Option("--at", help="When it happened, in ISO 8601 with its offset; now by default.")]
Plan = Annotated[str | None, typer.Option("--plan", "-p", help="The plan.")]
Until = Annotated[str | None, typer.Option("--until", help="When the period ends, in ISO 8601 with its offset.")]
Grace = Annotated[int | None, typer.Option("--grace", min=0, help="Seconds of grace after the period.")]
EventId = Annotated[
    str | None, typer.Option("--event-id", "-e", help="The source's id of the event, by which it counts once.")
]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=100, help="At most so many.")]


@access.command()
def status(workspace: Workspace, as_json: AsJson = False) -> None:
    """Show where the access is, until when, and by what it was told."""
    from datalane.access.lifecycle.service import get_status
    from datalane.cli.access_tables import print_status

    shown = _inside(workspace, lambda tx: get_status(tx))
    if as_json:
        print_json(shown.model_dump(mode="json"))
    else:
        print_status(shown)


@access.command()
def history(workspace: Workspace, limit: Limit = 25, as_json: AsJson = False) -> None:
    """List changes and signals, the newest first."""
    from datalane.access.lifecycle.service import list_history, list_signals
    from datalane.cli.access_tables import print_changes, print_signals

    changes = _inside(workspace, lambda tx: list_history(tx, page_size=limit)).data
    signals = _inside(workspace, lambda tx: list_signals(tx, most=limit))
    if as_json:
        print_json({"changes": _dumped(changes), "signals": _dumped(signals)})
    else:
        print_changes(changes)
        print_signals(signals)


@access.command()
def signal(
    name: Annotated[str, typer.Argument(metavar="SIGNAL", help="What happened, such as activate.", show_default=False)],
    workspace: Workspace,
    by: By,
    source: Annotated[str, typer.Option("--source", "-s", help="For which source this is told.")] = "operator",
    event_id: EventId = None,
    version: Annotated[int | None, typer.Option("--version", help="The source's count of its changes.")] = None,
    at: At = None,
    plan: Plan = None,
    until: Until = None,
    grace: Grace = None,
    reason: Annotated[str | None, typer.Option("--reason", "-r", help="Why.")] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what happened: activate, renew, suspend, resume, end, grace_over, deactivate or reactivate.

    An event that a source lost is told with the source's own name, id and time; should it still come, it counts once.
    """
    from datalane.access.lifecycle.schemas import NewSignal
    from datalane.access.lifecycle.service import tell
    from datalane.kit.clock import utc_now
    from datalane.kit.ids import uuid7

    said = {
        "source_system": source,
        "source_event_id": event_id or str(uuid7()),
        "signal": name,
        "occurred_at": at or utc_now(),
        "source_version": version,
        "plan_id": plan,
        "ends_at": until,
        "grace_seconds": grace,
        "told_by": by,
        "note": reason,
    }
    told = _read(NewSignal, said)

    async def act(tx: Transaction) -> SignalReceipt:
        return (await tell(tx, [told]))[0]

    _print_receipt(_inside(workspace, act), as_json)


@access.command()
def correct(
    state: Annotated[str, typer.Argument(metavar="STATE", help="The state that is right.", show_default=False)],
    workspace: Workspace,
    by: By,
    reason: Reason,
    event_id: EventId = None,
    at: At = None,
    plan: Plan = None,
    until: Until = None,
    grace: Grace = None,
    as_json: AsJson = False,
) -> None:
    """Correct the state, against all that was told of before. What sources tell of later goes on from there."""
    from datalane.access.lifecycle.schemas import Correction
    from datalane.access.lifecycle.service import correct as correct_access

    said = {
        "state": state,
        "told_by": by,
        "note": reason,
        "source_event_id": event_id,
        "occurred_at": at,
        "plan_id": plan,
        "ends_at": until,
        "grace_seconds": grace,
    }
    correction = _read(Correction, said)
    _print_receipt(_inside(workspace, lambda tx: correct_access(tx, correction)), as_json)


@access.command()
def resync(
    workspace: Workspace,
    reassign: Annotated[bool, typer.Option("--reassign", help="Assign the plan again, whatever is assigned.")] = False,
    as_json: AsJson = False,
) -> None:
    """Apply what was told and is not applied, such as a plan that was not there yet, and what time has done."""
    from datalane.access.lifecycle.service import settle

    done = _inside(workspace, lambda tx: settle(tx, reassign=reassign))
    if as_json:
        print_json(done.model_dump(mode="json"))
    else:
        typer.echo(f"{done.state}, {'changed' if done.changed else 'as it was'}")
        if done.sync_error:
            typer.echo(f"not applied: {done.sync_error}")
    if done.sync_error:
        raise typer.Exit(1)


@access.command()
def release(
    workspace: Workspace,
    by: By,
    reason: Reason,
    source: Annotated[str | None, typer.Option("--source", "-s", help="Only signals of this source.")] = None,
    event_id: Annotated[str | None, typer.Option("--event-id", "-e", help="Only this signal.")] = None,
    as_json: AsJson = False,
) -> None:
    """Give signals that are held for their unlikely time their place."""
    from datalane.access.lifecycle.service import release as release_signals

    released = _inside(
        workspace, lambda tx: release_signals(tx, by, reason, source_system=source, source_event_id=event_id)
    )
    if as_json:
        print_json({"released": released})
    else:
        typer.echo(f"{released:,} released")


@access.command()
def reconcile(
    workspace: Workspace,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what is found.")] = False,
    as_json: AsJson = False,
) -> None:
    """Recompute the access from all that was told, and show where something else stands."""
    from datalane.access.lifecycle.reconciling import reconcile as reconcile_access
    from datalane.cli.access_tables import print_differences

    found = _inside(workspace, lambda tx: reconcile_access(tx, repair=repair))
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        print_differences(found)
    if found.differences and not found.repaired:
        raise typer.Exit(1)


def _print_receipt(receipt: SignalReceipt, as_json: bool) -> None:
    if as_json:
        print_json(receipt.model_dump(mode="json"))
    else:
        why = "" if receipt.reason is None else f": {receipt.reason}"
        typer.echo(f"{receipt.source_system}/{receipt.source_event_id} {receipt.receipt}, {receipt.outcome}{why}")
    if receipt.receipt == "conflict":
        raise typer.Exit(1)


def _dumped(rows: list[Any]) -> list[Any]:
    return [each.model_dump(mode="json") for each in rows]


M = TypeVar("M", bound="BaseModel")


def _read(model: type[M], said: dict[str, Any]) -> M:
    """Raises `InvalidInput` that names each option that is wrong."""
    from pydantic import ValidationError

    try:
        return model.model_validate({name: value for name, value in said.items() if value is not None})
    except ValidationError as error:
        faults = [
            {"field": ".".join(str(part) for part in each["loc"]), "message": each["msg"]}
            for each in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        told = "; ".join(f"{each['field']}: {each['message']}" if each["field"] else each["message"] for each in faults)
        raise InvalidInput(told, faults) from None


def _inside(workspace: str, action: Callable[[Transaction], Awaitable[T]]) -> T:
    """Do `action` through the door of the workspace, as the lane itself, which is the operator."""
    from datalane.cli.office import Office, parse_id
    from datalane.contracts.context import Context

    office, home = Office(load_settings()), parse_id(workspace, "a workspace's")

    async def act() -> T:
        async with office.database() as database, database.transaction(Context.system(home)) as tx:
            return await action(tx)

    return asyncio.run(act())
