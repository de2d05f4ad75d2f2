"""Routes of notifications."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Query

from datalane.contracts.http import Door
from datalane.contracts.plans import Plans
from datalane.db.transaction import Transaction
from datalane.integrations.notifications import preferences, service
from datalane.integrations.notifications.delivering import available_channels
from datalane.integrations.notifications.schemas import (
    DeliveryStatus,
    Notification,
    NotificationDefaultList,
    NotificationDeliveryPage,
    NotificationPage,
    NotificationPreferenceList,
    NotificationsRead,
    NotificationWishes,
    OutwardChannel,
    UnreadCount,
)
from datalane.integrations.permissions import (
    KEEP_NOTIFICATION_PREFERENCES,
    READ_NOTIFICATION_DEFAULTS,
    READ_NOTIFICATION_DELIVERIES,
    READ_NOTIFICATIONS,
    SET_NOTIFICATION_DEFAULTS,
)


def router(door: Door) -> APIRouter:
    routes = door.router(prefix="/notifications", tags=["notifications"])
    _add_preferences(routes, door)
    _add_notifications(routes, door)
    return routes


def _add_preferences(routes: APIRouter, door: Door) -> None:
    available = available_channels(door.settings.email)

    @routes.get("/preferences")
    async def get_preferences(
        tx: Transaction = door.reader(KEEP_NOTIFICATION_PREFERENCES),
    ) -> NotificationPreferenceList:
        """By what you are told what in this workspace, and what says so."""
        return await preferences.get_preferences(tx, available)

    @routes.post("/preferences/update")
    async def update_preferences(
        body: NotificationWishes, tx: Transaction = door.writer(KEEP_NOTIFICATION_PREFERENCES)
    ) -> NotificationPreferenceList:
        """Say by what you want to be told. `wanted` null takes back what you said."""
        return await preferences.update_preferences(tx, body, available)

    @routes.get("/preferences/list")
    async def list_defaults(tx: Transaction = door.reader(READ_NOTIFICATION_DEFAULTS)) -> NotificationDefaultList:
        """The categories, and by what the workspace tells those who say nothing themselves."""
        return await preferences.list_defaults(tx)

    @routes.post("/preferences/defaults")
    async def set_defaults(
        body: NotificationWishes, tx: Transaction = door.writer(SET_NOTIFICATION_DEFAULTS)
    ) -> NotificationDefaultList:
        """Say by what the workspace tells those who say nothing themselves."""
        return await preferences.set_defaults(tx, body)


def _add_notifications(routes: APIRouter, door: Door) -> None:
    limits = door.settings.limits
    size = Query(min(25, limits.page_size), ge=1, le=limits.page_size)

    @routes.get("/list")
    async def list_notifications(
        unread: bool = False,
        page_size: int = size,
        cursor: str | None = None,
        tx: Transaction = door.reader(READ_NOTIFICATIONS, plans=Plans.OWN),
    ) -> NotificationPage:
        """What you were told, the newest first."""
        return await service.list_notifications(tx, unread=unread, cursor=cursor, page_size=page_size)

    @routes.post("/read")
    async def mark_read(body: NotificationsRead, tx: Transaction = door.writer(READ_NOTIFICATIONS)) -> UnreadCount:
        """You have read some of them (`notification_ids`), or all up to one (`up_to`)."""
        return await service.mark_read(tx, body)

    @routes.get("/deliveries/list")
    async def list_deliveries(
        status: DeliveryStatus | None = None,
        channel: OutwardChannel | None = None,
        page_size: int = size,
        cursor: str | None = None,
        tx: Transaction = door.reader(READ_NOTIFICATION_DELIVERIES, plans=Plans.OWN),
    ) -> NotificationDeliveryPage:
        """What became of the messages that went out, the newest first."""
        return await service.list_deliveries(tx, status=status, channel=channel, cursor=cursor, page_size=page_size)

    @routes.get("/{notification_id}")
    async def get_notification(
        notification_id: UUID, tx: Transaction = door.reader(READ_NOTIFICATIONS)
    ) -> Notification:
        """One of yours."""
        return await service.get_notification(tx, notification_id)
