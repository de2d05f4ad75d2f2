"""Categories, the life of a delivery, and what an e-mail looks like: decided from values."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product
from typing import Any, get_args
from uuid import UUID

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from datalane.db.access import Prepared
from datalane.engine.failures import JobError
from datalane.integrations.notifications.categories import CATEGORIES, CHANNELS, CategoryName
from datalane.integrations.notifications.mail import Letter, compose, port_of
from datalane.integrations.notifications.notices import one_line
from datalane.integrations.notifications.schemas import DeliveryStatus
from datalane.integrations.notifications.states import DELIVERY
from datalane.settings import EmailSettings, load_settings

LETTER_ID = UUID("01890000-0000-7000-8000-000000000001")
AT = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


def letter(title: str = "Hello", address: str = "ada@example.com", text: str = "", name: str = "Home") -> Letter:
    return Letter(LETTER_ID, address, name, "Jobs", title, text, None, AT)


def test_every_category_has_a_name_of_the_contract() -> None:
    assert tuple(CATEGORIES) == get_args(CategoryName)
    assert all(category.usual <= set(CHANNELS) for category in CATEGORIES.values())


@pytest.mark.parametrize(
    ("category", "channel", "own", "default", "expected"),
    [
        ("jobs", "email", None, None, (True, "category")),
        ("jobs", "email", None, False, (False, "workspace")),
        ("jobs", "email", True, False, (True, "you")),
        ("jobs", "webhook", None, None, (False, "category")),
        ("security", "in_app", False, False, (True, "required")),
    ],
)
def test_ones_own_word_comes_first(
    category: str, channel: Any, own: bool | None, default: bool | None, expected: tuple[bool, str]
) -> None:
    assert CATEGORIES[category].decide(channel, own, default) == expected


def test_the_database_knows_the_steps_of_a_delivery(template: Prepared) -> None:
    with psycopg.connect(template.maintenance_url) as connection:
        connection.execute("SET ROLE datalane_definer")
        known = {
            (source, target): connection.execute(
                "SELECT datalane.notification_delivery_may_go(%s, %s)", [source, target]
            ).fetchone()
            for source, target in product(DELIVERY.states, repeat=2)
        }
        check = connection.execute(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE conrelid = 'datalane.notification_deliveries'::regclass AND conname = 'status_is_known'"
        ).fetchone()
    assert known == {(source, target): (target in DELIVERY.transitions[source],) for source, target in known}
    assert check is not None
    assert [state for state in DELIVERY.states if f"'{state}'" not in check[0]] == []
    assert get_args(DeliveryStatus) == DELIVERY.states


def test_a_message_that_is_written_again_is_the_same_message() -> None:
    first, second = (compose(letter("Zwölf"), "lane@example.com").as_bytes() for _ in range(2))
    assert first == second
    assert b"Message-ID: <01890000-0000-7000-8000-000000000001@example.com>" in first
    assert b"Date: Wed, 02 Jan 2030 03:04:05 +0000" in first


@given(st.text(max_size=300), st.text(max_size=300), st.text(min_size=1, max_size=200))
def test_no_text_of_anybody_becomes_a_header(title: str, text: str, name: str) -> None:
    message = compose(letter(title, text=text.encode("utf-8", "ignore").decode(), name=name), "lane@example.com")
    head, _, body = message.as_bytes().partition(b"\r\n\r\n")
    names = [line.partition(b":")[0] for line in head.split(b"\r\n") if not line.startswith(b" ")]
    assert sorted(names) == sorted(
        [b"Message-ID", b"Date", b"From", b"To", b"Subject", b"Auto-Submitted", b"Content-Type",
         b"Content-Transfer-Encoding", b"MIME-Version"]
    )  # fmt: skip
    assert b"\r" not in body.replace(b"\r\n", b"")
    assert all(len(line) <= 998 for line in (head + body).split(b"\r\n"))


@given(st.text(max_size=700))
def test_one_line_is_one_line(text: str) -> None:
    line = one_line(text, 100)
    assert len(line) <= 100
    assert len(line.splitlines()) <= 1
    assert line.encode().decode() == line


@pytest.mark.parametrize("address", ["a b@example.com", "a@b@c", "a,b@c", "=?utf-8?q?x?=@c", "@c", "a@", "a\u2028@c"])
def test_an_address_that_is_none_is_a_final_failure(address: str) -> None:
    with pytest.raises(JobError) as refused:
        compose(letter(address=address), "lane@example.com")
    assert not refused.value.failure.retryable


# Settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ({"host": "mail.example.com"}, "FROM_ADDRESS"),
        ({"username": "lane"}, "HOST"),
        ({"host": "mail.example.com", "from_address": "a@b.c", "username": "lane"}, "PASSWORD"),
        ({"host": "mail.example.com", "from_address": "a@b.c", "security": "none"}, "SECURITY"),
        ({"host": "10.0.0.1", "from_address": "a@b.c", "security": "none"}, "SECURITY"),
        ({"host": "localhost.example.com", "from_address": "a@b.c", "security": "none"}, "SECURITY"),
        ({"host": "mail.example.com", "from_address": "a@b.c\r\nBcc: d"}, "from_address"),
        ({"host": "mail.example.com\r\n", "from_address": "a@b.c"}, "host"),
        ({"host": "mail.example.com", "from_address": "a@b.c", "security": "maybe"}, "security"),
    ],
)
def test_half_a_mail_server_is_none(said: dict[str, Any], names: str) -> None:
    with pytest.raises(ValidationError, match=names):
        EmailSettings(**said)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1"])
def test_this_machine_needs_no_tls(host: str) -> None:
    assert port_of(EmailSettings(host=host, from_address="a@b.c", security="none")) == 25


def test_the_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    password = "what the provider gave us"
    for name, value in {
        "HOST": "mail.example.com",
        "FROM_ADDRESS": "lane@example.com",
        "USERNAME": "lane",
        "PASSWORD": password,
        "TIMEOUT": "5",
    }.items():
        monkeypatch.setenv(f"DATALANE_EMAIL__{name}", value)
    email = load_settings().email
    assert (email.is_on, port_of(email), email.timeout.total_seconds()) == (True, 587, 5)
    assert email.password == SecretStr(password)
    assert password not in repr(email)
