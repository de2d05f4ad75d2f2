"""Commands of the operator inside one workspace: through its door, as the lane itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from datalane.errors import InvalidInput
from datalane.settings import load_settings

if TYPE_CHECKING:
    from datetime import datetime

    from datalane.db.transaction import Transaction

T = TypeVar("T")

Workspace = Annotated[str, typer.Option("--workspace", "-w", help="The id of the workspace.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; it goes into the audit log.")]
By = Annotated[str | None, typer.Option("--by", help="Who does it; it goes into the audit log with the reason.")]


def inside(workspace: str, action: Callable[[Transaction], Awaitable[T]]) -> T:
    """Do `action` in one transaction of the workspace. Raises `InvalidInput` for what is no id."""
    from datalane.cli.office import Office, parse_id
    from datalane.contracts.context import Context

    office, home = Office(load_settings()), parse_id(workspace, "a workspace's")

    async def act() -> T:
        async with office.database() as database, database.transaction(Context.system(home)) as tx:
            return await action(tx)

    return asyncio.run(act())


def moment(text: str | None, what: str) -> datetime | None:
    """A time as ISO 8601 with its offset. Raises `InvalidInput`."""
    from datetime import datetime

    if text is None:
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"{what} {text!r} is no time; one looks like 2031-03-01T12:00:00Z") from None
    if parsed.tzinfo is None:
        raise InvalidInput(f"{what} {text!r} has no offset; write 2031-03-01T12:00:00Z or +01:00 at its end")
    return parsed


def reason_of(reason: str, by: str | None) -> str:
    return reason if by is None else f"{reason} (by {by})"
