"""`datalane plans`: the operator says what a workspace has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from datalane.cli.inside import By, Reason, Workspace, inside, moment, reason_of
from datalane.cli.output import AsJson, print_json
from datalane.errors import InvalidInput
from datalane.settings import load_settings

if TYPE_CHECKING:
    from datetime import datetime

    from datalane.access.entitlements.schemas import EntitlementList
    from datalane.access.usage.schemas import CounterList
    from datalane.db.transaction import Transaction

plans = typer.Typer(
    help="Give workspaces plans, agree on something beside them, and lift a limit for a time.", no_args_is_help=True
)

Status = Annotated[str, typer.Option("--status", "-s", help="enabled, grace or disabled.")]
From = Annotated[str | None, typer.Option("--from", help="From this moment on (ISO 8601); now without it.")]
Until = Annotated[str | None, typer.Option("--until", help="Until this moment (ISO 8601).")]
Key = Annotated[str, typer.Argument(metavar="KEY", help="The key of a feature or a quota.", show_default=False)]
Id = Annotated[str, typer.Argument(metavar="ID", help="Its id, as it was printed.", show_default=False)]


@plans.command()
def show(workspace: Workspace, as_json: AsJson = False) -> None:
    """What a workspace may: its plan, its features, and what is left of its quotas."""
    from datalane.access.entitlements.service import list_entitlements
    from datalane.access.usage.service import list_counters

    async def both(tx: Transaction) -> tuple[EntitlementList, CounterList]:
        return await list_entitlements(tx), await list_counters(tx)

    held, counters = inside(workspace, both)
    if as_json:
        print_json({**held.model_dump(mode="json"), "quotas": counters.model_dump(mode="json")["data"]})
        return
    from datalane.cli.usage_tables import print_counters, print_entitlements

    print_entitlements(held)
    print_counters(counters.data)


@plans.command()
def assign(
    plan_id: Annotated[str, typer.Argument(metavar="PLAN", help="The plan's name.", show_default=False)],
    workspace: Workspace,
    reason: Reason,
    status: Status = "enabled",
    from_: From = None,
    until: Until = None,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Give a workspace the newest version of a plan."""
    from datalane.access.entitlements.service import assign_plan

    begins, ends = moment(from_, "--from"), moment(until, "--until")
    made = inside(
        workspace,
        lambda tx: assign_plan(
            tx,
            plan_id,
            status=_status(status),  # type: ignore[arg-type]
            effective_at=begins,
            expires_at=ends,
            reason=reason_of(reason, by),
        ),
    )
    _tell({"assignment_id": str(made)}, f"assigned; its id is {made}", as_json)


@plans.command()
def cancel(assignment: Id, workspace: Workspace, reason: Reason, by: By = None, as_json: AsJson = False) -> None:
    """Take back a plan that was to begin later."""
    from datalane.access.entitlements.service import cancel_plan
    from datalane.cli.office import parse_id

    wanted = parse_id(assignment, "an assignment's")
    canceled = inside(workspace, lambda tx: cancel_plan(tx, wanted, reason_of(reason, by)))
    _tell(
        {"canceled": canceled}, "canceled" if canceled else "nothing to cancel: it has begun, or was canceled", as_json
    )


@plans.command()
def retire(
    plan_id: Annotated[str, typer.Argument(metavar="PLAN", help="The plan's name.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Give a plan to nobody any more. Who has it keeps it."""
    import asyncio

    from datalane.access.entitlements.plans import retire_plan
    from datalane.cli.office import Office

    async def act() -> bool:
        async with Office(load_settings()).database() as database:
            return await retire_plan(database, plan_id)

    retired = asyncio.run(act())
    _tell({"retired": retired}, "retired" if retired else "there is no such plan, or it was retired", as_json)


@plans.command("override-feature")
def override_feature(
    key: Key,
    workspace: Workspace,
    reason: Reason,
    status: Status = "enabled",
    from_: From = None,
    until: Until = None,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Give or take a feature, whatever the plan says."""
    from datalane.access.entitlements import service

    begins, ends = moment(from_, "--from"), moment(until, "--until")
    made = inside(
        workspace,
        lambda tx: service.override_feature(
            tx,
            key,
            _status(status),  # type: ignore[arg-type]
            reason_of(reason, by),
            effective_at=begins,
            expires_at=ends,
        ),
    )
    _tell({"override_id": str(made)}, f"agreed; its id is {made}", as_json)


@plans.command("override-quota")
def override_quota(
    key: Key,
    workspace: Workspace,
    reason: Reason,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=0, help="The units; without it, no limit.")] = None,
    from_: From = None,
    until: Until = None,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Give a quota of the plan another limit."""
    from datalane.access.entitlements import service

    begins, ends = moment(from_, "--from"), moment(until, "--until")
    made = inside(
        workspace,
        lambda tx: service.override_quota(tx, key, limit, reason_of(reason, by), effective_at=begins, expires_at=ends),
    )
    _tell({"override_id": str(made)}, f"agreed; its id is {made}", as_json)


@plans.command()
def recover(
    key: Key,
    workspace: Workspace,
    reason: Reason,
    until: Annotated[str, typer.Option("--until", help="Until this moment (ISO 8601), seven days away at most.")],
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Refuse nothing of a quota for a time. Uses are counted as ever."""
    from datalane.access.entitlements import service

    ends: datetime = moment(until, "--until")  # type: ignore[assignment]
    made = inside(workspace, lambda tx: service.begin_recovery(tx, key, ends, reason_of(reason, by)))
    _tell({"override_id": str(made)}, f"nothing is refused until {ends:%Y-%m-%d %H:%M %Z}; its id is {made}", as_json)


@plans.command("end-override")
def end_override(override: Id, workspace: Workspace, reason: Reason, by: By = None, as_json: AsJson = False) -> None:
    """End an override or a recovery, or take it back before it begins."""
    from datalane.access.entitlements import service
    from datalane.cli.office import parse_id

    wanted = parse_id(override, "an override's")
    ended = inside(workspace, lambda tx: service.end_override(tx, wanted, reason_of(reason, by)))
    _tell({"ended": ended}, "ended" if ended else "it had ended already", as_json)


def _tell(machine: dict[str, object], person: str, as_json: bool) -> None:
    if as_json:
        print_json(machine)
    else:
        typer.echo(person)


def _status(text: str) -> str:
    if text not in {"enabled", "grace", "disabled"}:
        raise InvalidInput(f"--status is enabled, grace or disabled, not {text!r}")
    return text
