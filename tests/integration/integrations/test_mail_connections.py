"""Nothing is said to a mail server that is not there in time, is not verified or does not let in."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from tests.integration.api.conftest import Join, Log, Person, SignUp, log
from tests.integration.integrations.mail_server import Mailbox, make_certificate, serving, speaking
from tests.integration.integrations.telling import BROKEN, delivering, failure, local, settled, tell

from datalane.contracts.context import Role
from datalane.db.database import Database
from datalane.integrations.notifications.notices import ATTEMPTS, Notice
from datalane.kit.redaction import MASK

pytestmark = pytest.mark.one_database

__all__ = ["log"]


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
