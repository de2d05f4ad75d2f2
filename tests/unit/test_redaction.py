"""Secrets are cut out of whatever is logged."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalane.kit.logs import bind_context, clear_context, configure_logging, get_logger
from datalane.kit.redaction import MASK, is_secret_name, redact, redact_text

KEY = f"dl_{'a' * 32}_{'b' * 32}_{'S' * 43}"
INVITE = f"dli_{'a' * 32}_{'b' * 32}_{'S' * 43}"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        (f"key {KEY} used", f"key dl_{'a' * 32}_{'b' * 32}_{MASK} used"),
        (f"accept {INVITE}", f"accept dli_{'a' * 32}_{'b' * 32}_{MASK}"),
        ("Authorization: Bearer abc.def-ghi", f"Authorization: Bearer {MASK}"),
        ("postgresql://datalane:s3cret@host:5432/x", f"postgresql://datalane:{MASK}@host:5432/x"),
        ("password=hunter2 host=x", f"password={MASK} host=x"),
        ('{"password": "hunter2"}', f'{{"password": {MASK}}}'),
        ("api_key: abc123", f"api_key: {MASK}"),
        ("$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA", MASK),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl", MASK),
        *(
            (f"{before}postgres://u:hunter2@h/db", f"{before}postgres://u:{MASK}@h/db")
            for before in ("curl -x", "psql -d", "\x1b[32m", "next=%20", "1.", "+")
        ),
        (f"https://u:{'p' * 5_000}@h", f"https://u:{MASK}@h"),
        (f"client_assertion=eyJ{'h' * 5_000}.{'p' * 5_000}.sig", f"client_assertion={MASK}"),
        (f"xeyJ.eyJ{'h' * 50}.{'p' * 50}.sig", f"xeyJ.{MASK}"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", MASK),
    ],
)
def test_known_shapes_of_credentials_are_cut_out_of_text(text: str, cleaned: str) -> None:
    assert redact_text(text) == cleaned


@pytest.mark.parametrize(
    "text", ["", "12 documents ingested", "https://example.com/a?b=c", "the keyword method", "a:b@c"]
)
def test_text_without_secrets_is_left_alone(text: str) -> None:
    assert redact_text(text) == text


@pytest.mark.parametrize(
    "name",
    ["password", "new_password", "apiKey", "api-key", "webhook_secret", "Authorization", "token", "database_dsn"],
)
def test_fields_that_hold_secrets_are_known_by_name(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["name", "token_count", "input_tokens", "api_key_id", "idempotency_key", "signature_verified", "keyword"]
)
def test_fields_that_only_sound_like_secrets_stay(name: str) -> None:
    assert not is_secret_name(name)


def test_redaction_goes_into_mappings_and_sequences() -> None:
    value: dict[str, Any] = {
        "user": {"password": "x", "tags": ["a", {"token": "y"}]},
        "note": (f"used {KEY}", 7),
        "password": None,
    }
    assert redact(value) == {
        "user": {"password": MASK, "tags": ["a", {"token": MASK}]},
        "note": [f"used dl_{'a' * 32}_{'b' * 32}_{MASK}", 7],
        "password": None,
    }


def test_a_value_without_end_is_cut_off() -> None:
    endless: dict[str, Any] = {}
    endless["self"] = endless
    assert MASK in str(redact(endless))


@given(st.text(), st.text())
def test_no_text_around_it_saves_a_key(before: str, after: str) -> None:
    assert "S" * 43 not in redact_text(f"{before}{KEY} {after}")


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_redacting_twice_is_redacting_once(value: Any) -> None:
    assert redact(redact(value)) == redact(value)


@pytest.fixture
def stream() -> Any:
    lines = io.StringIO()
    configure_logging("INFO", lines)
    yield lines
    clear_context()
    configure_logging("WARNING")


def test_our_lines_and_those_of_libraries_have_one_schema(stream: io.StringIO) -> None:
    bind_context(correlation_id="c-1")
    get_logger("datalane.x").info("document_ingested", documents=3, password="hunter2")
    logging.getLogger("uvicorn.error").warning("listening on %s", "postgresql://a:b@c/d")
    ours, theirs = [json.loads(line) for line in stream.getvalue().splitlines()]
    for line in (ours, theirs):
        assert line.pop("timestamp").endswith("Z")
    assert ours == {
        "event": "document_ingested",
        "component": "datalane.x",
        "service": "datalane",
        "level": "info",
        "correlation_id": "c-1",
        "documents": 3,
        "password": MASK,
    }
    assert theirs == {
        "event": f"listening on postgresql://a:{MASK}@c/d",
        "level": "warning",
        "correlation_id": "c-1",
        "service": "datalane",
    }


def test_tracebacks_are_redacted_and_stay_on_one_line(stream: io.StringIO) -> None:
    try:
        raise ValueError(f"cannot use {KEY}")
    except ValueError as error:
        get_logger("datalane.x").error("failed", exc_info=error)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1
    assert "ValueError" in json.loads(lines[0])["exception"]
    assert "S" * 43 not in lines[0]


def test_logs_go_to_standard_error_so_that_output_stays_clean() -> None:
    script = "from datalane.kit.logs import *; configure_logging(); get_logger('x').info('hello')"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == ""
    assert json.loads(ran.stderr)["event"] == "hello"
