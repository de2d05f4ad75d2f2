"""The jobs that send notifications, and what becomes of a delivery.

Each asks again, when it is claimed, whether the member is one still and wants to be told this way: what changed since
the notice was written holds. An e-mail goes at least once, under the same Message-ID; a webhook is an event,
`notification.created`, which commits with the delivery, and which endpoints subscribe to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from datalane.db.database import Database
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.events import publish
from datalane.engine.handlers import Failure, Handler, Handlers, Job, Mode
from datalane.integrations.notifications.categories import CATEGORIES, Channel
from datalane.integrations.notifications.mail import Letter, Mailer
from datalane.integrations.notifications.metrics import count_deliveries
from datalane.integrations.notifications.notices import EMAIL, WEBHOOK
from datalane.integrations.notifications.schemas import OutwardChannel
from datalane.integrations.permissions import DELIVER_NOTIFICATIONS
from datalane.kit.retry import RetryPolicy
from datalane.settings import EmailSettings

PATIENCE = RetryPolicy(base=timedelta(minutes=2), cap=timedelta(hours=1))
"""A server that knows no sender yet asks to come again after minutes."""
AT_ONCE = 10
"""E-mails that all workers together hand over at once: a mail server takes few connections of one client."""
_SPARE = timedelta(minutes=1)
_CHANNELS: Mapping[str, OutwardChannel] = {EMAIL: "email", WEBHOOK: "webhook"}

_queries = load_queries(__file__)


def available_channels(settings: EmailSettings) -> frozenset[Channel]:
    """The channels of a lane with these settings."""
    return frozenset({"in_app", "email", "webhook"} if settings.is_on else {"in_app", "webhook"})


class Delivering:
    """The handlers of these jobs."""

    def __init__(self, database: Database, mailer: Mailer, patience: RetryPolicy = PATIENCE) -> None:
        self._database = database
        self._mailer = mailer
        self._patience = patience

    def register(self, handlers: Handlers) -> None:
        handlers.add(
            Handler(
                EMAIL,
                Mode.EXTERNAL,
                self.send_email,
                retry=self._patience,
                timeout=self._mailer.timeout + _SPARE,
                max_running=AT_ONCE,
                on_failure=record_failure,
            )
        )
        handlers.add(Handler(WEBHOOK, Mode.TRANSACTIONAL, publish_notice, on_failure=record_failure))

    async def send_email(self, job: Job) -> None:
        """Raises as `Mailer.send`."""
        ids = notification_ids_of(job.args)
        async with self._database.transaction(job.context) as tx:
            letter = await self._prepare(tx, ids)
        if letter is None:
            return
        await self._mailer.send(letter)
        async with self._database.transaction(job.context) as tx:
            await move(tx, ids, "email", "sent", attempt=job.attempt_count)

    async def _prepare(self, tx: Transaction, ids: Sequence[UUID]) -> Letter | None:
        """What is to be sent now; None when there is nothing to send, and the delivery says why."""
        for row in await open_deliveries(tx, ids, "email"):
            reason = why_not(row, "email") or (None if self._mailer.is_on else "channel_off")
            if reason is None:
                return Letter(
                    notification_id=row["notification_id"],
                    address=row["email"],
                    workspace_name=row["workspace_name"],
                    category_title=CATEGORIES[row["category"]].title,
                    title=row["title"],
                    text=row["body"],
                    link=row["link"],
                    at=row["created_at"],
                )
            await move(tx, ids, "email", "skipped", reason=reason)
        return None


async def publish_notice(tx: Transaction, job: Job) -> None:
    """One event for all who want a notice by webhook."""
    rows = await open_deliveries(tx, notification_ids_of(job.args), "webhook")
    reasons = {row["notification_id"]: why_not(row, "webhook") for row in rows}
    for reason in sorted({reason for reason in reasons.values() if reason is not None}):
        await move(tx, [one for one, why in reasons.items() if why == reason], "webhook", "skipped", reason=reason)
    wanted = [one for one, why in reasons.items() if why is None]
    if wanted:
        await move(tx, wanted, "webhook", "sent", attempt=job.attempt_count)
        told = {"category": rows[0]["category"], "title": rows[0]["title"]}
        await publish(tx, "notification.created", {**told, "notification_ids": [str(one) for one in wanted]})


async def record_failure(tx: Transaction, job: Job, failure: Failure) -> None:
    """What an attempt that failed means for the delivery."""
    channel = _CHANNELS[job.kind]
    said = {"attempt": job.attempt_count, "error_class": failure.error_class, "error_message": failure.message}
    ids = notification_ids_of(job.args)
    if not failure.retryable:
        await move(tx, ids, channel, "failed", **said)
    elif job.attempt_count >= job.max_attempts:
        await move(tx, ids, channel, "dead_letter", reason="attempts_exhausted", **said)
    else:
        await move(tx, ids, channel, "pending", **said)


async def give_up(tx: Transaction, kind: str, args: Mapping[str, Any], reason: str) -> None:
    """The job came to its end without its handler: it was canceled, or its workers were lost too often."""
    await move(tx, notification_ids_of(args), _CHANNELS[kind], "dead_letter", reason=reason)


async def open_deliveries(tx: Transaction, ids: Sequence[UUID], channel: OutwardChannel) -> list[Any]:
    """Those that are to be sent now. Whoever has a job done again opens what had failed."""
    DELIVER_NOTIFICATIONS.check(tx.context)
    rows = await _queries.read_deliveries(tx.connection, notification_ids=list(ids), channel=channel)
    stopped = [row["notification_id"] for row in rows if row["status"] in {"failed", "dead_letter"}]
    reopened = set(await move(tx, stopped, channel, "pending")) if stopped else set()
    return [row for row in rows if row["status"] == "pending" or row["notification_id"] in reopened]


def why_not(row: Any, channel: OutwardChannel) -> str | None:
    """Why a delivery is not sent, None where it is."""
    if not row["is_member"]:
        return "not_a_member"
    category = CATEGORIES.get(row["category"])
    if category is None:
        return "no_such_category"  # of a newer or older version of the lane
    wanted, _ = category.decide(channel, row["wish"], None)
    return None if wanted else "preference"


async def move(tx: Transaction, ids: Sequence[UUID], channel: OutwardChannel, target: str, **said: Any) -> list[UUID]:
    """One guarded step; answers the deliveries that took it. A stale writer moves nothing."""
    DELIVER_NOTIFICATIONS.check(tx.context)
    of = dict.fromkeys(("reason", "attempt", "error_class", "error_message", "now")) | said
    moved: list[UUID] = await _queries.move_deliveries(
        tx.connection, notification_ids=list(ids), channel=channel, target=target, **of
    )
    count_deliveries(tx, channel, target, len(moved))
    return moved


def notification_ids_of(args: Mapping[str, Any]) -> list[UUID]:
    return [UUID(one) for one in args["notification_ids"]]
