"""E-mail: handed to a real mail server, once as far as anybody can tell, and to nobody who does not want it."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr
from tests.integration.api.conftest import Join, Log, Person, SignUp, log
from tests.integration.engine.workers import ended
from tests.integration.integrations.mail_server import OK, Mailbox, make_certificate, serving, speaking
from tests.integration.integrations.telling import (
    BROKEN,
    acting,
    deliveries,
    delivering,
    know_handlers,
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
from datalane.kit.redaction import MASK
from datalane.settings import EmailSettings

__all__ = ["log"]

ERRORS = (
    "SELECT last_error_class, last_error_message, attempt_count FROM datalane.jobs WHERE kind = 'notification.email'"
)


def local(port: int, **said: Any) -> EmailSettings:
    fields = {"host": "127.0.0.1", "security": "none", "from_address": "lane@example.com", "timeout": "10", **said}
    return EmailSettings(port=port, **fields)


def counted(status: str) -> float:
    """What the metrics say of e-mails, so far."""
    labels = {"channel": "email", "status": status}
    return REGISTRY.get_sample_value("datalane_notification_deliveries_total", labels) or 0


async def failure(database: Database, who: Person, *statuses: str) -> tuple[str, str, int]:
    """How the only job that sends ended."""
    await settled(database, who, 1, *statuses)
    [row] = await rows(database, who, ERRORS)
    return row["last_error_class"], row["last_error_message"], row["attempt_count"]


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


# A connection that is not good enough -----------------------------------------------------------------------------


async def test_a_server_that_hangs_is_left_in_time_and_tried_again(database: Database, ada: Person) -> None:
    await tell(database, ada, roles=[Role.OWNER])
    async with speaking() as port, delivering(database, local(port, timeout="0.2")):
        error_class, message, _ = await failure(database, ada, "dead_letter")
    assert (error_class, message) == ("timeout", "the mail server did not answer in time")


async def test_a_server_that_drips_is_left_in_time_too(database: Database, ada: Person) -> None:
    await tell(database, ada, roles=[Role.OWNER])
    greeting = b"".join(b"220-slowly %d\r\n" % line for line in range(5)) + b"220 mail.test\r\n"
    async with speaking(greeting, b"250-mail.test\r\n") as port, delivering(database, local(port, timeout="0.2")):
        error_class, _, _ = await failure(database, ada, "dead_letter")
    assert error_class == "timeout"


async def test_a_server_that_is_not_there_is_tried_again(database: Database, ada: Person) -> None:
    await tell(database, ada, roles=[Role.OWNER])
    async with speaking() as port:
        pass
    async with delivering(database, local(port)):
        error_class, message, attempts = await failure(database, ada, "dead_letter")
    assert (error_class, attempts) == ("smtp_unreachable", ATTEMPTS)
    assert str(port) not in message


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # it does not see the TLS around it
@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_message_goes_over_a_connection_that_was_verified(
    database: Database, ada: Person, tmp_path: Path, security: str
) -> None:
    mailbox, certificate = Mailbox(), make_certificate(tmp_path)
    options: dict[str, Any] = (
        {"tls_context": certificate.context, "require_starttls": True}
        if security == "starttls"
        else {"implicit_tls": certificate.context}
    )
    options |= {"authenticator": mailbox.authenticate, "auth_required": True}
    if security == "tls":
        options["auth_require_tls"] = False  # the library does not know that it is inside TLS
    login = {"username": "lane", "password": SecretStr("a good password")}
    await tell(database, ada, roles=[Role.OWNER])
    async with serving(mailbox, **options) as port:
        settings = local(port, security=security, ca_file=certificate.ca_file, **login)
        async with delivering(database, settings):
            assert await settled(database, ada) == [("sent", None)]
    assert mailbox.logins == ["lane"]
    assert len(mailbox.messages) == 1
    assert security == "tls" or mailbox.over_tls == [True]


async def test_nothing_is_said_to_a_server_that_cannot_be_verified(
    database: Database, ada: Person, tmp_path: Path
) -> None:
    mailbox, certificate = Mailbox(), make_certificate(tmp_path)
    elsewhere = make_certificate(tmp_path, "mail.example.com")
    login = {"username": "lane", "password": SecretStr("a good password")}
    await tell(database, ada, roles=[Role.OWNER])
    async with serving(mailbox, tls_context=elsewhere.context, authenticator=mailbox.authenticate) as port:
        settings = local(port, security="starttls", ca_file=certificate.ca_file, **login)
        async with delivering(database, settings):
            error_class, _, _ = await failure(database, ada, "dead_letter")
    assert (error_class, mailbox.logins, mailbox.messages) == ("smtp_tls", [], [])


async def test_nothing_is_said_in_the_clear_to_a_server_that_offers_no_tls(database: Database, ada: Person) -> None:
    mailbox = Mailbox()
    login = {"username": "lane", "password": SecretStr("a good password")}
    await tell(database, ada, roles=[Role.OWNER])
    async with (
        serving(mailbox, authenticator=mailbox.authenticate, auth_require_tls=False) as port,
        delivering(database, local(port, security="starttls", **login)),
    ):
        error_class, _, _ = await failure(database, ada, "dead_letter")
    assert (error_class, mailbox.logins, mailbox.tries) == ("smtp_not_supported", [], 0)


async def test_a_wrong_password_is_tried_again_and_stands_nowhere(
    client: httpx.AsyncClient, database: Database, ada: Person
) -> None:
    mailbox = Mailbox()
    login = {"username": "lane", "password": SecretStr("an-old-password-of-the-lane")}
    await tell(database, ada, roles=[Role.OWNER])
    async with (
        serving(mailbox, authenticator=mailbox.authenticate, auth_require_tls=False) as port,
        delivering(database, local(port, **login)),
    ):
        error_class, message, attempts = await failure(database, ada, "dead_letter")
    assert (error_class, attempts) == ("smtp_authentication", ATTEMPTS)
    log = await client.get("/notifications/deliveries/list", headers=ada.headers)
    assert log.json()["data"][0]["last_error_class"] == "smtp_authentication"
    assert "an-old-password" not in message + log.text + repr(local(25, **login))


async def test_one_address_that_is_refused_keeps_no_other_from_being_told(
    database: Database, ada: Person, sign_up: SignUp, join: Join
) -> None:
    for name in ("bob", "eve"):
        await join(ada, await sign_up(name), "admin")
    mailbox = Mailbox.answering("rcpt", "550 no such user")
    await tell(database, ada, BROKEN, roles=[Role.OWNER, Role.ADMIN])
    async with serving(mailbox) as port, delivering(database, local(port)):
        found = await settled(database, ada, 3, "sent", "failed")
    assert sorted(status for status, _ in found) == ["failed", "sent", "sent"]
    assert len(mailbox.messages) == 2


async def test_a_server_that_quotes_the_password_does_not_show_it_to_members(
    database: Database, ada: Person, log: Log
) -> None:
    password = "the operator's 5ecret"
    both, alone = (base64.b64encode(each).decode() for each in (f"\0lane\0{password}".encode(), password.encode()))
    await tell(database, ada, Notice("jobs", "x"), roles=[Role.OWNER])
    reply = f"535 you sent {both}, {alone}, {password}"
    server = speaking(b"220 here\r\n", b"250-here\r\n250 AUTH PLAIN\r\n", f"{reply}\r\n".encode())
    login = {"username": "lane", "password": SecretStr(password)}
    async with server as port, delivering(database, local(port, **login)):
        error_class, message, _ = await failure(database, ada, "dead_letter")
    assert (error_class, message) == (
        "smtp_authentication",
        f"the mail server does not let in: 535 you sent {MASK}, {MASK}, {MASK}",
    )
    assert not [one for one in (both, alone, password) if one in log.stream.getvalue()]
