"""A mail server on 127.0.0.1 that keeps what it takes, and answers as a test wants."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTPUTF8
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

OK = "250 taken"


@dataclass
class Mailbox:
    """`rcpt` and `data` are the server's answers, one each time, the last one again and again."""

    rcpt: list[str] = field(default_factory=lambda: ["250 OK"])
    data: list[str] = field(default_factory=lambda: [OK])
    raw: list[bytes] = field(default_factory=list)
    tries: int = 0
    recipients: list[list[str]] = field(default_factory=list)
    over_tls: list[bool] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    before_answer: Callable[[], Any] | None = None

    @classmethod
    def answering(cls, where: str, *answers: str) -> Mailbox:
        """`where` is `rcpt` or `data`; what is taken in the end is the last answer."""
        return cls(data=[*answers, OK]) if where == "data" else cls(rcpt=[*answers, OK])

    @property
    def messages(self) -> list[EmailMessage]:
        read = [message_from_bytes(one, policy=SMTPUTF8) for one in self.raw]
        return [one for one in read if isinstance(one, EmailMessage)]

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        self.tries += 1
        answer = _next(self.rcpt)
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        answer = _next(self.data)
        if answer.startswith("250"):
            self.raw.append(envelope.content)
            self.recipients.append(list(envelope.rcpt_tos))
            self.over_tls.append(session.ssl is not None)
        if self.before_answer is not None:
            await self.before_answer()
        return answer

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, credentials: Any) -> AuthResult:
        assert isinstance(credentials, LoginPassword)
        self.logins.append(credentials.login.decode())
        return AuthResult(success=credentials.password == b"a good password", handled=False)


def _next(answers: list[str]) -> str:
    return answers.pop(0) if len(answers) > 1 else answers[0]


@asynccontextmanager
async def serving(
    mailbox: Mailbox, *, implicit_tls: ssl.SSLContext | None = None, **options: Any
) -> AsyncIterator[int]:
    """The port of a server for the time of the block."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(mailbox, loop=loop, hostname="mail.test", enable_SMTPUTF8=True, **options),
        "127.0.0.1",
        0,
        ssl=implicit_tls,
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@asynccontextmanager
async def speaking(*lines: bytes) -> AsyncIterator[int]:
    """The port of a server that says `lines`, one for each line it hears, and then nothing more."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for line in lines:
            writer.write(line)
            if not await reader.readline():
                break
        await reader.read()
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@dataclass(frozen=True)
class Certificate:
    """`ca_file` is what trusts it."""

    ca_file: Path
    context: ssl.SSLContext


def make_certificate(folder: Path, name: str = "127.0.0.1") -> Certificate:
    """A certificate of its own authority for an address or a name."""
    key, subject = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(list(_names(name))), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    ca_file, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca_file, key_file)
    return Certificate(ca_file, context)


def _names(name: str) -> Iterator[x509.GeneralName]:
    try:
        yield x509.IPAddress(ip_address(name))
    except ValueError:
        yield x509.DNSName(name)
