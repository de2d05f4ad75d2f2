"""An e-mail: its text, and handing it to the operator's mail server (SMTP, RFC 5321).

The Message-ID is made of the notification's id, and the date is the notification's: an e-mail that is sent a second
time, because the first answer was lost, is the same message, and mail programs show it once.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as CRLF
from email.policy import SMTPUTF8 as CRLF_UTF8
from email.utils import format_datetime
from uuid import UUID

import aiosmtplib

from datalane.engine.failures import JobError
from datalane.integrations.notifications.notices import one_line
from datalane.kit.redaction import MASK
from datalane.settings import EmailSettings

SUBJECT_CHARACTERS = 200
REPLY_CHARACTERS = 200
_GOODBYE_SECONDS = 2
_UNREACHABLE = "smtp_unreachable"
_PLAIN_ADDRESS = re.compile(r"(?!.*=\?)[\w.!#$%&'*+/=?^`{|}~-]+@[\w.-]+")
"""Nothing that a header gives a meaning to, such as a comma, a quote, or an encoded word (RFC 2047)."""
_OF_THE_LOGIN = frozenset({530, 534, 535, 538})
"""Replies by which a server asks for another login (RFC 4954): that is not the message's fault."""
_HEADERS = frozenset({"message-id", "date", "from", "to", "subject", "auto-submitted", "mime-version"})
_OF_CONTENT = "content-"


@dataclass(frozen=True, slots=True)
class Letter:
    """What is sent to one member. `address` is theirs, `link` may be None."""

    notification_id: UUID
    address: str
    workspace_name: str
    category_title: str
    title: str
    text: str
    link: str | None
    at: datetime


def compose(letter: Letter, sender: str) -> EmailMessage:
    """The message. Raises `JobError` for an address that none can be sent to."""
    message = EmailMessage(policy=CRLF)
    message["Message-ID"] = f"<{letter.notification_id}@{domain_of(sender)}>"
    message["Date"] = format_datetime(letter.at)
    message["From"] = Address("Datalane", addr_spec=sender)
    message["To"] = _addressed(letter.address)
    # The standard library reads the value as it reads a header: an encoded word is decoded, with a line break in it.
    message["Subject"] = one_line(letter.title, SUBJECT_CHARACTERS).replace("=?", "= ?")
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no reply by a machine
    message.set_content("\n\n".join(_paragraphs(letter)) + "\n", cte="quoted-printable")
    _check_headers(message)
    return message


def _check_headers(message: EmailMessage) -> None:
    """The message as it is sent has the headers that were meant, and no other."""
    head = message.as_bytes(policy=CRLF_UTF8).partition(b"\r\n\r\n")[0].decode()
    names = [line.partition(":")[0].lower() for line in head.split("\r\n") if not line.startswith((" ", "\t"))]
    meant = {name for name in names if not name.startswith(_OF_CONTENT)}
    if meant != _HEADERS or len(set(names)) < len(names):
        raise JobError("invalid_message", "the notification cannot be written as an e-mail", retryable=False)


def _paragraphs(letter: Letter) -> Iterator[str]:
    yield letter.title
    if letter.text:
        yield letter.text
    if letter.link is not None and not letter.link.startswith("/"):
        yield letter.link
    name = one_line(letter.workspace_name, SUBJECT_CHARACTERS)
    yield (
        f"-- \nYou are told this as a member of {name} ({letter.category_title}). "
        "Your notification preferences there say what is sent to you."
    )


def _addressed(address: str) -> str:
    """With its domain as DNS has it, where only that is not ASCII."""
    if not _PLAIN_ADDRESS.fullmatch(address):
        raise _not_an_address()
    local, _, domain = address.rpartition("@")
    try:
        return f"{local}@{domain.encode('idna').decode()}" if local.isascii() else address
    except UnicodeError as error:
        raise _not_an_address() from error


def _not_an_address() -> JobError:
    return JobError("invalid_address", "the member's address is not one that mail goes to", retryable=False)


def domain_of(address: str) -> str:
    return address.rpartition("@")[2]


class Mailer:
    """Hands messages to the mail server of the settings, one connection each."""

    def __init__(self, email: EmailSettings) -> None:
        self._email = email
        self._tls: ssl.SSLContext | None = None

    @property
    def is_on(self) -> bool:
        return self._email.is_on

    @property
    def timeout(self) -> timedelta:
        """Of one message."""
        return self._email.timeout

    @property
    def sender(self) -> str:
        assert self._email.from_address is not None
        return self._email.from_address

    async def send(self, letter: Letter) -> None:
        """Returns when the server has taken the message.

        Raises `JobError`: one that may go away by itself when the server cannot be reached, is not the one it should
        be, does not let in or asks to come again (4xx); a final one when it refuses message or address (5xx).
        """
        message = compose(letter, self.sender)
        recipient = str(message["To"])
        with _explained({**_hidden(self._email), recipient: "the address"}):
            client = self._client()
            try:
                async with asyncio.timeout(self.timeout.total_seconds()):
                    await client.connect()
                    await _check_address(client, recipient)
                    await client.send_message(message, sender=self.sender, recipients=[recipient])
                with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
                    async with asyncio.timeout(_GOODBYE_SECONDS):
                        await client.quit()  # the message is taken, whatever the answer
            finally:
                client.close()

    def _client(self) -> aiosmtplib.SMTP:
        email = self._email
        return aiosmtplib.SMTP(
            hostname=email.host,
            port=port_of(email),
            username=email.username,
            password=email.password.get_secret_value() if email.password is not None else None,
            local_hostname=domain_of(self.sender),
            timeout=self.timeout.total_seconds(),
            use_tls=email.security == "tls",
            start_tls=email.security == "starttls",
            tls_context=None if email.security == "none" else self._context(),
        )

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            file = self._email.ca_file
            self._tls = ssl.create_default_context(cafile=None if file is None else str(file))
        return self._tls


def port_of(email: EmailSettings) -> int:
    """The one that is set, or the usual one."""
    return email.port or {"starttls": 587, "tls": 465, "none": 25}[email.security]


async def _check_address(client: aiosmtplib.SMTP, recipient: str) -> None:
    if recipient.isascii():
        return
    await client.ehlo()
    if not client.supports_extension("smtputf8"):
        raise JobError(
            "smtp_refused",
            "the mail server takes no addresses with other letters than ASCII (SMTPUTF8)",
            retryable=False,
        )


def _hidden(email: EmailSettings) -> Mapping[str, str]:
    """The operator's password and the forms in which it is sent (RFC 4616), by what is told instead: a server may
    quote it, and tenants read its replies."""
    if email.password is None:
        return {}
    password = email.password.get_secret_value()
    sent = (base64.b64encode(each.encode()).decode() for each in (f"\0{email.username}\0{password}", password))
    return dict.fromkeys((*sent, password), MASK)


@contextmanager
def _explained(hidden: Mapping[str, str]) -> Iterator[None]:
    """Errors of SMTP as what they mean for the job. Of what the server says, that which is `hidden` is left out."""
    try:
        yield
    except (aiosmtplib.SMTPConnectResponseError, aiosmtplib.SMTPHeloError) as error:
        raise JobError(_UNREACHABLE, _reply("greets with", error.code, error.message, hidden)) from error
    except aiosmtplib.SMTPRecipientsRefused as error:
        first = error.recipients[0]
        raise _refused(first.code, first.message, hidden) from error
    except aiosmtplib.SMTPResponseException as error:
        raise _refused(error.code, error.message, hidden) from error
    except TimeoutError as error:
        raise JobError("timeout", "the mail server did not answer in time") from error
    except ssl.SSLError as error:
        raise JobError("smtp_tls", f"no safe connection to the mail server: {error.reason or 'TLS failed'}") from error
    except OSError as error:  # a lost connection of the library's is one
        if isinstance(error.__cause__, ssl.SSLError):
            raise JobError("smtp_tls", f"no safe connection to the mail server: {error.__cause__.reason}") from error
        raise JobError(_UNREACHABLE, "the mail server cannot be reached, or broke off") from error
    except aiosmtplib.SMTPException as error:
        said = _quoted(error.message, hidden)
        raise JobError("smtp_not_supported", f"the mail server cannot do what is asked: {said}") from error


def _refused(code: int, said: str, hidden: Mapping[str, str]) -> JobError:
    if code in _OF_THE_LOGIN:
        return JobError("smtp_authentication", _reply("does not let in", code, said, hidden))
    if 500 <= code < 600:
        return JobError("smtp_refused", _reply("refuses", code, said, hidden), retryable=False)
    return JobError("smtp_busy", _reply("asks to come again", code, said, hidden))


def _reply(what: str, code: int, said: str, hidden: Mapping[str, str]) -> str:
    return f"the mail server {what}: {code} {_quoted(said, hidden)}"


def _quoted(said: str, hidden: Mapping[str, str]) -> str:
    for text, instead in hidden.items():
        said = said.replace(text, instead)
    return one_line(said, REPLY_CHARACTERS)
