"""Notifications and preferences as callers see them, and what callers say of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from datalane.integrations.notifications.categories import CategoryName, Channel, DecidedBy

DeliveryStatus = Literal["pending", "sent", "failed", "skipped", "dead_letter"]
OutwardChannel = Literal["email", "webhook"]
MOST_WISHES = 100


class NotificationWish(BaseModel):
    """Whether a category is to be told by a channel. Null takes back what was said."""

    model_config = ConfigDict(extra="forbid")

    category: CategoryName
    channel: Channel
    wanted: bool | None


class NotificationWishes(BaseModel):
    """What is not named stays as it is."""

    model_config = ConfigDict(extra="forbid")

    preferences: Annotated[list[NotificationWish], Field(min_length=1, max_length=MOST_WISHES)]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        named = [(wish.category, wish.channel) for wish in self.preferences]
        if len(set(named)) < len(named):
            raise ValueError("a channel of a category is named twice")
        return self


class ChannelPreference(BaseModel):
    """Whether you are told by the channel, and what says so. A channel that is not `available` sends nothing in this
    lane, whatever is wanted."""

    channel: Channel
    wanted: bool
    decided_by: DecidedBy
    available: bool


class CategoryPreferences(BaseModel):
    category: CategoryName
    title: str
    channels: list[ChannelPreference]


class NotificationPreferenceList(BaseModel):
    """What holds for you in this workspace."""

    data: list[CategoryPreferences]


class ChannelDefault(BaseModel):
    """`by_default` is what the category has by itself, `workspace` what was set instead, if anything. A `required`
    channel nobody may switch off."""

    channel: Channel
    by_default: bool
    workspace: bool | None
    required: bool


class CategoryDefaults(BaseModel):
    category: CategoryName
    title: str
    channels: list[ChannelDefault]


class NotificationDefaultList(BaseModel):
    """What holds for whoever says nothing themselves. What others have said is nobody's business."""

    data: list[CategoryDefaults]


class Notification(BaseModel):
    notification_id: UUID
    category: str
    title: str
    text: str
    subject_type: str | None
    subject_id: str | None
    link: str | None
    created_at: datetime
    read_at: datetime | None
    correlation_id: str


class NotificationPage(BaseModel):
    data: list[Notification]
    unread_count: int
    page_size: int
    next_cursor: str | None


class NotificationsRead(BaseModel):
    """`notification_ids` were read, or everything up to one."""

    model_config = ConfigDict(extra="forbid")

    notification_ids: Annotated[list[UUID], Field(min_length=1, max_length=1_000)] | None = None
    up_to: UUID | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.notification_ids is None) == (self.up_to is None):
            raise ValueError("say notification_ids or up_to, one of the two")
        return self


class UnreadCount(BaseModel):
    """`marked` were not read before."""

    marked: int
    unread_count: int


class NotificationDelivery(BaseModel):
    """`reason` says why nothing was sent (`preference`, `not_a_member`, `channel_off`), or why it was given up."""

    notification_id: UUID
    channel: OutwardChannel
    user_id: UUID
    category: str
    status: DeliveryStatus
    reason: str | None
    attempt_count: int
    last_error_class: str | None
    last_error_message: str | None
    created_at: datetime
    updated_at: datetime


class NotificationDeliveryPage(BaseModel):
    data: list[NotificationDelivery]
    page_size: int
    next_cursor: str | None
