"""Telling members something: the notification and the jobs that send it commit with what it is about.

    await notify(tx, Notice("integrations", "The mail connector was revoked", "…"), roles=(Role.OWNER, Role.ADMIN))

What a member does not want is not written. Whoever wants it by e-mail or webhook gets a delivery and a job, which asks
again before it sends: a preference that changed meanwhile holds.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from datalane.contracts.context import Role
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.jobs import NewJob, enqueue_batch
from datalane.errors import InvalidInput
from datalane.integrations.notifications.categories import CATEGORIES, Category
from datalane.integrations.permissions import NOTIFY

EMAIL = "notification.email"
WEBHOOK = "notification.webhook"
"""Kinds of the jobs that send."""
ATTEMPTS = 8
"""Of sending one e-mail: with the pauses between them, up to three hours for a server to come back."""
TITLE_CHARACTERS = 500
TEXT_CHARACTERS = 10_000
LINK_CHARACTERS = 2_000
MOST_IN_EVENT = 1_000
"""Notifications that one `notification.created` names; past it a notice has several."""

_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_TURNS = re.compile(r"[\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What makes text read in another order than it is written, and half characters that nothing can store."""
_LINK = re.compile(r"(https?://[!-\[\]-~]+|/(?!/)[!-\[\]-~]*)")
"""Of printable ASCII without a backslash. A path that begins with two slashes, or one of each, leads elsewhere."""

_queries = load_queries(__file__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Notice:
    """What there is to tell. A title is one line; what is too long is cut, and what is no text is taken out.

    `subject_type` and `subject_id` say what it is about (`job`, its id), `link` where that is: an http(s) URL, or a
    path of the application. Of a `dedupe_key` everybody is told once, for as long as notifications are kept.
    """

    category: str
    title: str
    text: str = ""
    subject_type: str | None = None
    subject_id: str | None = None
    link: str | None = None
    dedupe_key: str | None = None


@dataclass(frozen=True, slots=True)
class Notified:
    """`notification_ids` by the member who is told."""

    notification_ids: dict[UUID, UUID]


async def notify(
    tx: Transaction,
    notice: Notice,
    *,
    roles: Collection[Role] = (),
    user_ids: Collection[UUID] = (),
    now: datetime | None = None,
) -> Notified:
    """Tell the active members who hold one of `roles`, and those of `user_ids`, each once; others are passed over.

    Raises `InvalidInput` for a category that there is not, an empty title or a link that is none, `Forbidden` for a
    viewer.
    """
    NOTIFY.check(tx.context)
    category = check_notice(notice)
    rows = await _queries.add_notifications(
        tx.connection,
        category=category.name,
        title=one_line(notice.title, TITLE_CHARACTERS),
        body=_text(notice.text),
        roles=sorted(role.value for role in roles),
        user_ids=list(user_ids),
        usual=sorted(category.usual),
        required=sorted(category.required),
        subject_type=notice.subject_type,
        subject_id=notice.subject_id,
        link=notice.link,
        dedupe_key=notice.dedupe_key,
        correlation_id=tx.context.correlation_id,
        now=now,
    )
    for jobs in _sliced(list(_jobs(rows)), tx.limits.batch):
        await enqueue_batch(tx, jobs)
    return Notified({row["user_id"]: row["notification_id"] for row in rows})


def check_notice(notice: Notice) -> Category:
    """Its category. Raises as `notify`."""
    category = CATEGORIES.get(notice.category)
    if category is None:
        raise InvalidInput(f"there is no category {notice.category[:50]!r}; there are: {', '.join(CATEGORIES)}")
    if not one_line(notice.title, TITLE_CHARACTERS):
        raise InvalidInput("a notice needs a title")
    if notice.link is not None and (len(notice.link) > LINK_CHARACTERS or not _LINK.fullmatch(notice.link)):
        raise InvalidInput("the link of a notice is an http or https URL, or a path that begins with /")
    return category


def one_line(text: str, most: int) -> str:
    """`text` in one line of at most `most` characters, read in the order in which it is written."""
    line = " ".join(_TURNS.sub("", _BREAKS.sub(" ", text)).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _text(text: str) -> str:
    cleaned = _CONTROLS.sub("", _TURNS.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))
    return cleaned if len(cleaned) <= TEXT_CHARACTERS else f"{cleaned[: TEXT_CHARACTERS - 1]}…"


def _jobs(rows: Sequence[dict[str, object]]) -> Iterator[NewJob]:
    """One for each e-mail, and one for the event of those who want it by webhook."""
    for row in rows:
        if "email" in _channels(row):
            notification_id = str(row["notification_id"])
            args = {"notification_ids": [notification_id]}
            yield NewJob(EMAIL, args, subject_id=notification_id, max_attempts=ATTEMPTS)
    told = [str(row["notification_id"]) for row in rows if "webhook" in _channels(row)]
    for ids in _sliced(told, MOST_IN_EVENT):
        yield NewJob(WEBHOOK, {"notification_ids": ids}, subject_id=ids[0])


def _channels(row: dict[str, object]) -> Collection[str]:
    channels = row["channels"]
    assert isinstance(channels, list)
    return channels


def _sliced(things: list[T], most: int) -> Iterator[list[T]]:
    for start in range(0, len(things), most):
        yield things[start : start + most]
