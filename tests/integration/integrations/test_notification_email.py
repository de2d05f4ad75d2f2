"""E-mail: handed to a real mail server, once as far as anybody can tell, and to nobody who does not want it."""

from __future__ import annotations

from uuid import UUID

import httpx
import pytest
from prometheus_client import REGISTRY
from tests.integration.api.conftest import Join, Person, SignUp
from tests.integration.engine.workers import ended
from tests.integration.integrations.mail_server import OK, Mailbox, serving, speaking
from tests.integration.integrations.telling import (
    acting,
    deliveries,
    delivering,
    failure,
    know_handlers,
    local,
    rows,
    settled,
    tell,
    wish,
)

from datalane.contracts.context import Role
from datalane.db.database import Database
from datalane.engine.jobs import cancel_jobs, enqueue, list_jobs, replay_jobs, retry_jobs
from datalane.integrations.notifications.notices import ATTEMPTS, EMAIL, Notice
from datalane.integrations.notifications.preferences import update_preferences


def counted(status: str) -> float:
    """What the metrics say of e-mails, so far."""
    labels = {"channel": "email", "status": status}
    return REGISTRY.get_sample_value("datalane_notification_deliveries_total", labels) or 0


async def test_a_notification_is_a_plain_message_to_the_members_address(database: Database, ada: Person) -> None:
    mailbox = Mailbox()
    sent = await tell(
        database, ada, Notice("jobs", "Zwölf", "Zeilen\n.\nmit Punkt", link="https://example.com/x"), roles=[Role.OWNER]
    )
    async with serving(mailbox) as port, delivering(database, local(port)):
        assert await settled(database, ada) == [("sent", None)]
    [message] = mailbox.messages
    notification_id = sent.notification_ids[ada.user_id]
    [stored] = await rows(database, ada, "SELECT created_at FROM datalane.notifications")
    assert mailbox.recipients == [[ada.email]]
    assert (message["To"], message["From"]) == (ada.email, "Datalane <lane@example.com>")
    assert message["Message-ID"] == f"<{notification_id}@example.com>"
    assert message["Date"].datetime == stored["created_at"].replace(microsecond=0)
    assert message["Subject"] == "Zwölf"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content_type() == "text/plain"
    body = message.get_content().replace("\r\n", "\n")
    assert body.startswith("Zwölf\n\nZeilen\n.\nmit Punkt\n\nhttps://example.com/x\n\n-- \n")
    assert "(Jobs)" in body


@pytest.mark.parametrize(
    "title",
    [
        "Hello\r\nBcc: eve@example.com",
        "Hello\nBcc: eve@example.com\n\nand a body",
        "Hello\u2028Bcc: eve@example.com",
        "Hello\x85Bcc: eve@example.com\x00",
        "=?utf-8?q?Hello=0D=0ABcc:_eve=40example.com?=",
        "x" * 10_000 + "\r\nBcc: eve@example.com",
        "\u202eevil\u2069 " + "é\u0301" * 5_000,
    ],
)
async def test_no_title_becomes_a_header(database: Database, ada: Person, title: str) -> None:
    mailbox = Mailbox()
    await tell(database, ada, Notice("jobs", title, "text"), roles=[Role.OWNER])
    async with serving(mailbox) as port, delivering(database, local(port)):
        assert await settled(database, ada) == [("sent", None)]
    [message] = mailbox.messages
    assert mailbox.recipients == [[ada.email]]
    assert message["Bcc"] is None
    assert set(message.keys()) == {
        "Message-ID", "Date", "From", "To", "Subject", "Auto-Submitted", "Content-Type", "Content-Transfer-Encoding",
        "MIME-Version",
    } | ({"X-Peer"} & set(message.keys()))  # fmt: skip
    assert max(map(len, mailbox.raw[0].splitlines())) <= 998
    assert not any(mark in message["Subject"] for mark in "\r\n\u202e\u2069\u2028")
    assert len(message["Subject"]) <= 200


@pytest.mark.parametrize(
    ("address", "reached"),
    [
        ("ada@b\u00fccher.example", "ada@xn--bcher-kva.example"),
        ("\u00e4da@b\u00fccher.example", "\u00e4da@b\u00fccher.example"),
    ],
)
async def test_addresses_with_other_letters_are_reached(
    client: httpx.AsyncClient, database: Database, ada: Person, sign_up: SignUp, address: str, reached: str
) -> None:
    account = {"email": address, "password": "correct horse battery", "name": "other"}
    made = await client.post("/auth/sign-up", json=account)
    assert made.status_code == 201, made.text
    other = Person(address, made.json()["token"], UUID(made.json()["user_id"]), UUID(made.json()["workspace_id"]))
    mailbox = Mailbox()
    await tell(database, other, roles=[Role.OWNER])
    async with serving(mailbox) as port, delivering(database, local(port)):
        assert await settled(database, other) == [("sent", None)]
    assert mailbox.recipients == [[reached]]
    assert mailbox.messages[0]["To"] == reached


@pytest.mark.parametrize(
    "address",
    [
        "=?utf-8?q?x=0D=0ABcc:_eve=40example.com?=@example.com",
        "ada,eve@example.com",
        "<eve@example.com>",
        'a"b@example.com',
        "ada@" + "\u00fc" * 70 + ".example",
    ],
)
async def test_an_address_that_means_more_than_itself_gets_nothing(
    client: httpx.AsyncClient, database: Database, address: str
) -> None:
    account = {"email": address, "password": "correct horse battery", "name": "other"}
    made = await client.post("/auth/sign-up", json=account)
    assert made.status_code == 201, made.text
    other = Person(address, made.json()["token"], UUID(made.json()["user_id"]), UUID(made.json()["workspace_id"]))
    mailbox = Mailbox()
    await tell(database, other, roles=[Role.OWNER])
    async with serving(mailbox) as port, delivering(database, local(port)):
        error_class, _, _ = await failure(database, other, "failed")
    assert (error_class, mailbox.tries) == ("invalid_address", 0)


# What changed between the notice and its sending -----------------------------------------------------------------


async def test_a_preference_that_changed_meanwhile_holds(database: Database, ada: Person) -> None:
    mailbox = Mailbox()
    await tell(database, ada, roles=[Role.OWNER])
    async with database.transaction(acting(ada)) as tx:
        await update_preferences(tx, wish("integrations", "email", False))
    async with serving(mailbox) as port, delivering(database, local(port)):
        assert await settled(database, ada) == [("skipped", "preference")]
    assert mailbox.tries == 0


@pytest.mark.parametrize("how", ["removed", "suspended", "left"])
async def test_who_left_meanwhile_gets_nothing(
    client: httpx.AsyncClient, database: Database, ada: Person, sign_up: SignUp, join: Join, how: str
) -> None:
    bob, mailbox = await sign_up("bob"), Mailbox()
    headers = await join(ada, bob, "member")
    await tell(database, ada, user_ids=[bob.user_id])
    if how == "left":
        answer = await client.post("/workspaces/members/leave", headers=headers)
    elif how == "suspended":
        change = {"user_id": str(bob.user_id), "status": "suspended"}
        answer = await client.post("/workspaces/members/change", json=change, headers=ada.headers)
    else:
        target = {"user_id": str(bob.user_id)}
        answer = await client.post("/workspaces/members/remove", json=target, headers=ada.headers)
    assert answer.status_code == 200, answer.text
    async with serving(mailbox) as port, delivering(database, local(port)):
        assert await settled(database, ada) == [("skipped", "not_a_member")]
    assert mailbox.tries == 0


async def test_without_a_mail_server_the_delivery_says_so(database: Database, ada: Person) -> None:
    await tell(database, ada, roles=[Role.OWNER])
    async with delivering(database):
        assert await settled(database, ada) == [("skipped", "channel_off")]


async def test_a_job_that_is_done_again_after_sending_sends_nothing(database: Database, ada: Person) -> None:
    mailbox = Mailbox()
    await tell(database, ada, roles=[Role.OWNER])
    async with database.transaction(acting(ada)) as tx:
        [job] = await list_jobs(tx, kind=EMAIL)
    async with serving(mailbox) as port, delivering(database, local(port)):
        await ended(database, acting(ada), [job.id])
        async with database.transaction(acting(ada)) as tx:
            again = await enqueue(tx, EMAIL, job.args)
        await ended(database, acting(ada), [again.job_id])
    assert await deliveries(database, ada) == [("sent", None)]
    assert len(mailbox.messages) == 1


# What the server answers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["rcpt", "data"])
async def test_a_server_that_asks_to_come_again_is_asked_again(database: Database, ada: Person, where: str) -> None:
    before = {status: counted(status) for status in ("pending", "sent", "failed")}
    mailbox = Mailbox.answering(where, "451 greylisted", "421 too many")
    await tell(database, ada, roles=[Role.OWNER])
    async with serving(mailbox) as port, delivering(database, local(port)):
        assert await settled(database, ada) == [("sent", None)]
    assert (mailbox.tries, len(mailbox.messages)) == (3, 1)
    assert {status: counted(status) - before[status] for status in before} == {"pending": 2, "sent": 1, "failed": 0}


@pytest.mark.parametrize("where", ["rcpt", "data"])
async def test_what_a_server_refuses_is_not_sent_again_until_somebody_wants_it(
    database: Database, ada: Person, where: str
) -> None:
    mailbox = Mailbox.answering(where, "550 no such user")
    await tell(database, ada, roles=[Role.OWNER])
    async with serving(mailbox) as port, delivering(database, local(port)):
        error_class, message, attempts = await failure(database, ada, "failed")
        assert (error_class, attempts, mailbox.tries) == ("smtp_refused", 1, 1)
        assert message.startswith("the mail server refuses: 550 no such")
        async with database.transaction(acting(ada)) as tx:
            [job] = await list_jobs(tx, status="failed")
            await retry_jobs(tx, [job.id])
        await settled(database, ada, 1, "sent")
    assert len(mailbox.messages) == 1


@pytest.mark.parametrize("reply", ["530 authentication required", "538 encryption required"])
async def test_a_server_that_wants_another_login_is_asked_again(database: Database, ada: Person, reply: str) -> None:
    mailbox = Mailbox.answering("rcpt", reply)
    await tell(database, ada, roles=[Role.OWNER])
    async with serving(mailbox) as port, delivering(database, local(port)):
        assert await settled(database, ada) == [("sent", None)]
    assert mailbox.tries == 2


async def test_a_greeting_that_sends_away_is_no_refusal_of_the_message(database: Database, ada: Person) -> None:
    await tell(database, ada, roles=[Role.OWNER])
    async with speaking(b"554 no service here\r\n") as port, delivering(database, local(port)):
        error_class, message, attempts = await failure(database, ada, "dead_letter")
    assert (error_class, attempts) == ("smtp_unreachable", ATTEMPTS)
    assert message == "the mail server greets with: 554 no service here"


async def test_what_the_server_says_of_an_address_is_told_without_the_address(database: Database, ada: Person) -> None:
    mailbox = Mailbox.answering("rcpt", f"550 <{ada.email}>: \x1b[31m no such user {'x' * 300}")
    await tell(database, ada, roles=[Role.OWNER])
    async with serving(mailbox) as port, delivering(database, local(port)):
        _, message, _ = await failure(database, ada, "failed")
    assert message.startswith("the mail server refuses: 550 <the address>: [31m no such user xxx")
    assert len(message) < 250


async def test_a_server_that_never_takes_it_ends_as_a_dead_letter_which_can_be_replayed(
    database: Database, ada: Person
) -> None:
    mailbox = Mailbox.answering("data", *["451 not now"] * ATTEMPTS)
    await tell(database, ada, roles=[Role.OWNER])
    async with serving(mailbox) as port, delivering(database, local(port)):
        await settled(database, ada, 1, "dead_letter")
        assert mailbox.tries == ATTEMPTS
        async with database.transaction(acting(ada)) as tx:
            [job] = await list_jobs(tx, status="dead_letter", kind=EMAIL)
            await replay_jobs(tx, [job.id])
        await settled(database, ada, 1, "sent")
    assert len(mailbox.messages) == 1
    assert await rows(database, ada, "SELECT FROM datalane.notifications WHERE category = 'jobs'") == []


async def test_a_message_whose_answer_is_lost_is_sent_again_as_the_same_one(database: Database, ada: Person) -> None:
    mailbox = Mailbox(data=[OK, OK])
    broken = iter([True])

    async def break_off() -> None:
        if next(broken, False):
            raise ConnectionResetError

    mailbox.before_answer = break_off
    await tell(database, ada, roles=[Role.OWNER])
    async with serving(mailbox) as port, delivering(database, local(port)):
        assert await settled(database, ada) == [("sent", None)]
    first, second = mailbox.raw
    assert first == second


async def test_a_canceled_job_gives_its_delivery_up(database: Database, ada: Person) -> None:
    await tell(database, ada, roles=[Role.OWNER])
    await know_handlers(database)
    async with database.transaction(acting(ada)) as tx:
        [job] = await list_jobs(tx, kind=EMAIL)
        await cancel_jobs(tx, [job.id])
    assert await deliveries(database, ada) == [("pending", None)]
    async with delivering(database):
        assert await settled(database, ada) == [("dead_letter", "canceled")]
    assert await rows(database, ada, "SELECT FROM datalane.notifications WHERE category = 'jobs'") == []
