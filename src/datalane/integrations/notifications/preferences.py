"""By what somebody wants to be told what: their own word, the workspace's, what a category has by itself.

Everybody sees and changes their own, an admin the workspace's; what others want nobody is shown. The audit log, which
everybody reads, tells of one's own preferences only that they changed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from datalane.contracts.authorization import Permission
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.audit import record
from datalane.errors import Forbidden, InvalidInput
from datalane.integrations.notifications.categories import CATEGORIES, CHANNELS, Category, Channel
from datalane.integrations.notifications.schemas import (
    CategoryDefaults,
    CategoryPreferences,
    ChannelDefault,
    ChannelPreference,
    NotificationDefaultList,
    NotificationPreferenceList,
    NotificationWish,
    NotificationWishes,
)
from datalane.integrations.permissions import (
    KEEP_NOTIFICATION_PREFERENCES,
    READ_NOTIFICATION_DEFAULTS,
    SET_NOTIFICATION_DEFAULTS,
)
from datalane.kit.clock import utc_now

ALL_CHANNELS = frozenset(CHANNELS)

_queries = load_queries(__file__)
Said = Mapping[tuple[str, str], bool]
"""What was said of a channel of a category."""


def require_person(tx: Transaction, permission: Permission) -> UUID:
    """Who acts. Raises `Forbidden` for an API key, which nobody tells anything."""
    permission.check(tx.context)
    if tx.context.auth_method == "api_key":
        raise Forbidden(
            "an API key is told nothing; sign in to see what you are told",
            denial="auth_method",
            target=permission.name,
        )
    return tx.context.actor_id


async def get_preferences(tx: Transaction, available: Collection[Channel] = ALL_CHANNELS) -> NotificationPreferenceList:
    """What holds for whoever asks. `available` are the channels that this lane has. Raises `Forbidden` for a key."""
    return await _effective(tx, require_person(tx, KEEP_NOTIFICATION_PREFERENCES), available)


async def update_preferences(
    tx: Transaction,
    wishes: NotificationWishes,
    available: Collection[Channel] = ALL_CHANNELS,
    now: datetime | None = None,
) -> NotificationPreferenceList:
    """Say by what one wants to be told. Raises `InvalidInput` for what is required, `Forbidden` for an API key."""
    actor_id = require_person(tx, KEEP_NOTIFICATION_PREFERENCES)
    check_wishes(wishes.preferences)
    scope = {"workspace_id": tx.workspace_id, "actor_id": actor_id}
    await _queries.lock_preferences(tx.connection, workspace_id=tx.workspace_id, owner_id=actor_id)
    said, taken_back = _sorted_out(wishes.preferences, await _own(tx, actor_id))
    if said:
        await _queries.put_preferences(tx.connection, **scope, **_columns(said), **_wanted(said), now=now or utc_now())
    if taken_back:
        await _queries.forget_preferences(tx.connection, **scope, **_columns(taken_back))
    if said or taken_back:
        await record(tx, "notification_preference.changed", "notification_preference", actor_id)
    return await _effective(tx, actor_id, available)


async def list_defaults(tx: Transaction) -> NotificationDefaultList:
    """What holds for whoever says nothing themselves."""
    READ_NOTIFICATION_DEFAULTS.check(tx.context)
    said = await _defaults(tx)
    return NotificationDefaultList(
        data=[
            CategoryDefaults(
                category=category.name,
                title=category.title,
                channels=[
                    ChannelDefault(
                        channel=channel,
                        by_default=channel in category.usual,
                        workspace=said.get((category.name, channel)),
                        required=channel in category.required,
                    )
                    for channel in CHANNELS
                ],
            )
            for category in CATEGORIES.values()
        ]
    )


async def set_defaults(
    tx: Transaction, wishes: NotificationWishes, now: datetime | None = None
) -> NotificationDefaultList:
    """Say by what the workspace tells those who say nothing themselves. Raises `InvalidInput`, `Forbidden`."""
    SET_NOTIFICATION_DEFAULTS.check(tx.context)
    tx = tx.following()
    check_wishes(wishes.preferences)
    scope = {"workspace_id": tx.workspace_id}
    await _queries.lock_preferences(tx.connection, **scope, owner_id=tx.workspace_id)
    before = await _defaults(tx)
    said, taken_back = _sorted_out(wishes.preferences, before)
    if said:
        actor = {"actor_id": tx.context.actor_id, "now": now or utc_now()}
        await _queries.put_defaults(tx.connection, **scope, **actor, **_columns(said), **_wanted(said))
    if taken_back:
        await _queries.forget_defaults(tx.connection, **scope, **_columns(taken_back))
    if said or taken_back:
        named = [*said, *taken_back]
        await record(
            tx,
            "notification_default.changed",
            "notification_default",
            tx.workspace_id,
            before={f"{wish.category}.{wish.channel}": before.get((wish.category, wish.channel)) for wish in named},
            after={f"{wish.category}.{wish.channel}": wish.wanted for wish in named},
        )
    return await list_defaults(tx)


def check_wishes(wishes: Sequence[NotificationWish]) -> None:
    """Raises `InvalidInput` naming what may not be switched off."""
    message = "cannot be switched off"
    faults = [
        {"field": f"body.preferences.{place}.wanted", "message": message, "code": "required"}
        for place, wish in enumerate(wishes)
        if wish.wanted is False and wish.channel in CATEGORIES[wish.category].required
    ]
    if faults:
        raise InvalidInput(f"a channel that everybody is told by {message}", faults)


async def _effective(tx: Transaction, actor_id: UUID, available: Collection[Channel]) -> NotificationPreferenceList:
    own, defaults = await _own(tx, actor_id), await _defaults(tx)

    def channel_of(category: Category, channel: Channel) -> ChannelPreference:
        place = (category.name, channel)
        wanted, decided_by = category.decide(channel, own.get(place), defaults.get(place))
        return ChannelPreference(channel=channel, wanted=wanted, decided_by=decided_by, available=channel in available)

    return NotificationPreferenceList(
        data=[
            CategoryPreferences(
                category=category.name,
                title=category.title,
                channels=[channel_of(category, channel) for channel in CHANNELS],
            )
            for category in CATEGORIES.values()
        ]
    )


async def _own(tx: Transaction, actor_id: UUID) -> Said:
    return _said(await _queries.list_preferences(tx.connection, workspace_id=tx.workspace_id, actor_id=actor_id))


async def _defaults(tx: Transaction) -> Said:
    return _said(await _queries.list_defaults(tx.connection, workspace_id=tx.workspace_id))


def _said(rows: Sequence[Mapping[str, object]]) -> Said:
    return {(str(row["category"]), str(row["channel"])): bool(row["wanted"]) for row in rows}


def _sorted_out(
    wishes: Sequence[NotificationWish], before: Said
) -> tuple[list[NotificationWish], list[NotificationWish]]:
    """What is said anew, and what is taken back; what is so already is neither."""
    changed = [wish for wish in wishes if wish.wanted != before.get((wish.category, wish.channel))]
    said = [wish for wish in changed if wish.wanted is not None]
    return said, [wish for wish in changed if wish.wanted is None]


def _columns(wishes: Sequence[NotificationWish]) -> dict[str, list[str]]:
    return {"categories": [wish.category for wish in wishes], "channels": [wish.channel for wish in wishes]}


def _wanted(wishes: Sequence[NotificationWish]) -> dict[str, list[bool | None]]:
    return {"wanted": [wish.wanted for wish in wishes]}
