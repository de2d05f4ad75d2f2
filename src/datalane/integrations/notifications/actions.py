"""What rules may do with notifications."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from datalane.contracts.context import Role
from datalane.contracts.storable import Text
from datalane.db.transaction import Transaction
from datalane.engine.actions import Action, ActionCall
from datalane.integrations.notifications.notices import TEXT_CHARACTERS, TITLE_CHARACTERS, Notice, notify
from datalane.integrations.permissions import NOTIFY

MemberRole = Literal["viewer", "member", "admin", "owner"]


class NotifyArguments(BaseModel):
    """`to` are roles and ids of members. What the lane alone speaks of, such as security, is no category here."""

    model_config = ConfigDict(extra="forbid")

    title: Annotated[Text, Field(min_length=1, max_length=TITLE_CHARACTERS)]
    text: Annotated[Text, Field(max_length=TEXT_CHARACTERS)] = ""
    to: Annotated[list[MemberRole | UUID], Field(min_length=1, max_length=100)]
    category: Literal["automation", "integrations", "webhooks", "jobs"] = "automation"


async def run_notify(tx: Transaction, arguments: NotifyArguments, call: ActionCall) -> Mapping[str, Any]:
    """Answers how many were told."""
    notice = Notice(
        arguments.category,
        arguments.title,
        arguments.text,
        subject_type="event",
        subject_id=str(call.event_id),
        dedupe_key=call.idempotency_key,
    )
    told = await notify(
        tx,
        notice,
        roles={Role(one) for one in arguments.to if isinstance(one, str)},
        user_ids={one for one in arguments.to if isinstance(one, UUID)},
    )
    return {"notified": len(told.notification_ids)}


NOTIFY_ACTION = Action(
    "notify", "Tells members something, by the channels that each of them wants.", NotifyArguments, NOTIFY, run_notify
)
