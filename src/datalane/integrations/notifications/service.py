"""What somebody was told, and what became of the messages."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import NotFound
from datalane.integrations.notifications.preferences import require_person
from datalane.integrations.notifications.schemas import (
    DeliveryStatus,
    Notification,
    NotificationDelivery,
    NotificationDeliveryPage,
    NotificationPage,
    NotificationsRead,
    OutwardChannel,
    UnreadCount,
)
from datalane.integrations.permissions import READ_NOTIFICATION_DELIVERIES, READ_NOTIFICATIONS
from datalane.kit.clock import utc_now

_queries = load_queries(__file__)
_NONE_SUCH = "no such notification"


async def list_notifications(
    tx: Transaction, *, unread: bool = False, cursor: str | None = None, page_size: int = 25
) -> NotificationPage:
    """One's own, the newest first. Raises `InvalidInput` for another list's cursor, `Forbidden` for an API key."""
    actor_id = require_person(tx, READ_NOTIFICATIONS)
    listing = f"notifications:{actor_id}:{unread}"
    before = tx.read_id_cursor(listing, cursor)
    rows = await _queries.list_notifications(
        tx.connection,
        workspace_id=tx.workspace_id,
        actor_id=actor_id,
        unread=unread,
        before=before,
        page_size=page_size + 1,
    )
    page, following = tx.cut_page(listing, rows, page_size, lambda row: [row["notification_id"]])
    return NotificationPage(
        data=[Notification(**row) for row in page],
        unread_count=await _count_unread(tx, actor_id),
        page_size=page_size,
        next_cursor=following,
    )


async def get_notification(tx: Transaction, notification_id: UUID) -> Notification:
    """One of one's own, also one that is in no list. Raises `NotFound`, `Forbidden` for an API key."""
    actor_id = require_person(tx, READ_NOTIFICATIONS)
    row = await _queries.get_notification(
        tx.connection, workspace_id=tx.workspace_id, actor_id=actor_id, notification_id=notification_id
    )
    if row is None:
        raise NotFound(_NONE_SUCH)
    return Notification(**row)


async def mark_read(tx: Transaction, read: NotificationsRead, now: datetime | None = None) -> UnreadCount:
    """Some of one's own were read, or all up to one; once is enough.

    Raises `NotFound` when one of them is not one's own, and marks none then; `Forbidden` for an API key.
    """
    actor_id = require_person(tx, READ_NOTIFICATIONS)
    scope = {"workspace_id": tx.workspace_id, "actor_id": actor_id}
    asked = sorted({read.up_to} if read.up_to is not None else set(read.notification_ids or ()))
    if await _queries.count_known(tx.connection, **scope, notification_ids=asked) < len(asked):
        raise NotFound(_NONE_SUCH)
    at = now or utc_now()
    if read.up_to is not None:
        done = await _queries.read_up_to(tx.connection, **scope, notification_id=read.up_to, now=at)
    else:
        done = await _queries.read_some(tx.connection, **scope, notification_ids=asked, now=at)
    return UnreadCount(marked=int(done.removeprefix("UPDATE ")), unread_count=await _count_unread(tx, actor_id))


async def list_deliveries(
    tx: Transaction,
    *,
    status: DeliveryStatus | None = None,
    channel: OutwardChannel | None = None,
    cursor: str | None = None,
    page_size: int = 25,
) -> NotificationDeliveryPage:
    """What became of the messages of the workspace, the newest first; not what they said.

    Raises `InvalidInput` for another list's cursor.
    """
    READ_NOTIFICATION_DELIVERIES.check(tx.context)
    listing = f"notification_deliveries:{status}:{channel}"
    after = tx.read_cursor(listing, cursor)
    rows = await _queries.list_deliveries(
        tx.connection,
        following=UUID(after[0]) if after else None,
        following_channel=after[1] if after else None,
        status=status,
        channel=channel,
        page_size=page_size + 1,
    )
    page, following = tx.cut_page(listing, rows, page_size, lambda row: [row["notification_id"], row["channel"]])
    return NotificationDeliveryPage(
        data=[NotificationDelivery(**row) for row in page], page_size=page_size, next_cursor=following
    )


async def _count_unread(tx: Transaction, actor_id: UUID) -> int:
    count: int = await _queries.count_unread(tx.connection, workspace_id=tx.workspace_id, actor_id=actor_id)
    return count
