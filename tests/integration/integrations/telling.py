"""Telling members of a workspace something, and looking at what became of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from tests.integration.api.conftest import Person
from tests.integration.engine.lab import eventually
from tests.integration.engine.workers import AT_ONCE, working

from datalane.contracts.context import Context, Role
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.db.transaction import Transaction
from datalane.engine.handlers import Handlers, Job
from datalane.engine.registration import register
from datalane.integrations.notifications import handlers as notification_handlers
from datalane.integrations.notifications.delivering import Delivering
from datalane.integrations.notifications.mail import Mailer
from datalane.integrations.notifications.notices import Notice, Notified, notify
from datalane.integrations.notifications.schemas import NotificationWish, NotificationWishes
from datalane.integrations.notifications.service import list_deliveries
from datalane.settings import EmailSettings

BROKEN = Notice("integrations", "The mail connector was revoked", "Its token is not good any more.")


def acting(person: Person, role: Role = Role.OWNER, workspace_id: UUID | None = None) -> Context:
    return Context(workspace_id or person.workspace_id, person.user_id, role)


async def tell(
    database: Database,
    who: Person,
    notice: Notice = BROKEN,
    *,
    roles: Sequence[Role] = (),
    user_ids: Sequence[UUID] = (),
) -> Notified:
    async with database.transaction(acting(who)) as tx:
        return await notify(tx, notice, roles=roles, user_ids=user_ids)


def wish(category: Any, channel: Any, wanted: bool | None) -> NotificationWishes:
    return NotificationWishes(preferences=[NotificationWish(category=category, channel=channel, wanted=wanted)])


async def deliveries(database: Database, who: Person, channel: Any = None) -> list[tuple[str, str | None]]:
    """Status and reason of each, the newest first."""
    async with database.transaction(acting(who)) as tx:
        page = await list_deliveries(tx, channel=channel, page_size=100)
    return [(one.status, one.reason) for one in page.data]


async def settled(database: Database, who: Person, count: int = 1, *statuses: str) -> list[tuple[str, str | None]]:
    """Wait until there are so many deliveries and none of them is pending (or all are in one of `statuses`)."""

    async def all_there() -> list[tuple[str, str | None]] | None:
        found = await deliveries(database, who)
        done = all(status in statuses if statuses else status != "pending" for status, _ in found)
        return found if len(found) == count and done else None

    answer = await eventually(all_there)
    assert answer is not None
    return answer


async def rows(database: Database, who: Person, sql: str, *arguments: Any) -> list[Any]:
    async with database.transaction(acting(who)) as tx:
        return await tx.fetch(sql, *arguments)


@asynccontextmanager
async def delivering(
    database: Database, email: EmailSettings | None = None, *, echoing: bool = False
) -> AsyncIterator[Handlers]:
    """A worker that sends notifications for the time of the block, and tries again at once. When `echoing`, it answers
    each `notification.created` with another notice."""
    handlers = Handlers()
    Delivering(database, Mailer(email or EmailSettings()), AT_ONCE).register(handlers)
    notification_handlers.register(handlers)
    if echoing:
        handlers.on_event("notification.created")(_echo)
    await register(database, {}, handlers.events, list(EVENTS))
    async with working(database, handlers):
        yield handlers


async def _echo(tx: Transaction, job: Job) -> None:
    await notify(tx, Notice("automation", "And so on"), roles=[Role.OWNER])


async def know_handlers(database: Database) -> None:
    """Make the event types and the handlers of events known, as a worker that starts does."""
    handlers = Handlers()
    notification_handlers.register(handlers)
    await register(database, {}, handlers.events, list(EVENTS))


ERRORS = (
    "SELECT last_error_class, last_error_message, attempt_count FROM datalane.jobs WHERE kind = 'notification.email'"
)


def local(port: int, **said: Any) -> EmailSettings:
    fields = {"host": "127.0.0.1", "security": "none", "from_address": "lane@example.com", "timeout": "10", **said}
    return EmailSettings(port=port, **fields)


async def failure(database: Database, who: Person, *statuses: str) -> tuple[str, str, int]:
    """How the only job that sends ended."""
    await settled(database, who, 1, *statuses)
    [row] = await rows(database, who, ERRORS)
    return row["last_error_class"], row["last_error_message"], row["attempt_count"]
