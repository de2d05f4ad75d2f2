"""Personal data is found by its shape and its check digits, in time that goes by the length of a text."""

from __future__ import annotations

from time import thread_time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalane.kit.contents import CREDENTIALS, Redaction
from datalane.kit.detection import DETECTORS, Detector, mask_detected
from datalane.kit.redaction import MASK, redact

ALL = Redaction(("date_of_birth", "Vorname"), DETECTORS)

FOUND: list[tuple[Detector, str, str]] = [
    ("email", "write to ada@example.com.", f"write to {MASK}."),
    ("email", "email=ada.l+x@mail.example.co.uk,b", f"email={MASK},b"),
    ("email", "<jürgen@müller.de>", f"<{MASK}>"),
    ("card", "4111111111111111", MASK),
    ("card", "card 4111 1111 1111 1111 2026", f"card {MASK} 2026"),
    ("card", "1234 4111-1111-1111-1111", f"1234 {MASK}"),
    ("card", "3782 822463 10005/5500005555555559", f"{MASK}/{MASK}"),
    ("iban", "DE89 3704 0044 0532 0130 00 and more", f"{MASK} and more"),
    ("iban", "to gb82west12345698765432!", f"to {MASK}!"),
    ("phone", "call +1 415 555 2671 2026", f"call {MASK} 2026"),
    ("phone", "0049 (30) 901820, +1-415-555-2671", f"{MASK}, {MASK}"),
    ("ip", "at 10.0.0.1:8080.", f"at {MASK}:8080."),
    ("ip", "from 192.168.1.254.", f"from {MASK}."),
    ("ip", "[2001:db8::1]:443, ::ffff:10.0.0.1", f"[{MASK}]:443, {MASK}"),
]
NEAR_MISSES: list[tuple[Detector, str]] = [
    ("email", "ada@localhost, @example.com, ada@, a@b.c"),
    ("card", "4111 1111 1111 1112"),
    ("card", "1700000000000 41111111111111110000 411111111111"),
    ("card", "41111111111111114111111111111111"),
    ("card", "٤١١١١١١١١١١١١١١١"),
    ("iban", "DE89 3704 0044 0532 0130 01"),
    ("iban", "DE89370400440532013000X, XDE89370400440532013000"),
    ("iban", "ZZ89370400440532013000"),
    ("phone", "030 901820, +12 34, +4930, 2026-11-30, +999 1234567"),
    ("ip", "256.1.1.1 1.2.3 1.2.3.4.5 v1.2.3.4"),
    ("ip", "12:34:56 std::dec a::b ::"),
]


@pytest.mark.parametrize(("detector", "text", "masked"), FOUND)
def test_what_is_personal_is_masked_and_the_rest_stays(detector: Detector, text: str, masked: str) -> None:
    assert mask_detected(text, [detector], MASK) == masked


@pytest.mark.parametrize(("detector", "text"), NEAR_MISSES)
def test_what_only_looks_like_it_stays(detector: Detector, text: str) -> None:
    assert mask_detected(text, [detector], MASK) == text


def test_values_are_masked_at_any_depth_by_name_and_by_what_they_are() -> None:
    value: dict[str, Any] = {
        "dateOfBirth": "1 May",
        "person": {"Date of birth": 1990, "vorname": ["Ada"], "name": "Ada", "password": "x", "date_of_birth": None},
        "list": [("mail ada@example.com", 4111111111111111), 4111111111111111.0, 4111111111111112, True, 1.5],
        "arguments": '{"date_of_birth": "1 May", "to": {"ada@example.com": "+49 30 901820"}, "n": 1}',
        "cut": '{"date_of_birth": "1 M',
        "nothing": '{"a": 1}',
        "bytes": b"ada@example.com",
    }
    assert ALL.value(value) == {
        "dateOfBirth": MASK,
        "person": {
            "Date of birth": MASK,
            "vorname": MASK,
            "name": "Ada",
            "password": MASK,
            "date_of_birth": None,
        },
        "list": [[f"mail {MASK}", MASK], MASK, 4111111111111112, True, 1.5],
        "arguments": '{"date_of_birth":"[redacted]","to":{"[redacted]":"[redacted]"},"n":1}',
        "cut": '{"date_of_birth": "1 M',
        "nothing": '{"a": 1}',
        "bytes": "[15 bytes]",
    }


def test_names_that_are_masked_stay_apart() -> None:
    cleaned = ALL.value({"a@example.com": 1, "b@example.com": 2, "c@example.com": 3, MASK: 4})
    assert sorted(cleaned.values()) == [1, 2, 3, 4]
    assert not any("example" in name for name in cleaned)


def test_a_value_without_end_is_cut_off_also_in_texts_within_texts() -> None:
    endless: dict[str, Any] = {}
    endless["self"] = endless
    assert MASK in str(ALL.value(endless))


@settings(max_examples=40)
@given(
    st.recursive(
        st.none() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_redacting_twice_is_redacting_once_and_without_settings_only_credentials_are_cut_out(value: Any) -> None:
    assert ALL.value(ALL.value(value)) == ALL.value(value)
    assert CREDENTIALS.value(value) == redact(value)


HOSTILE = [
    *("a", "a@", "@", "a@b.", "a@b.c", "4", "4111 ", "411 ", "DE89 ", "DE89a", "+1 ", "+4930 901820 ", "1.", "1.1.1.1"),
    *("a:", "1::", "eyJ-", "a://b:", "password ", 'token="', "dlr_", "basic ", "[", "-----BEGIN ", "a.", "\u00a0+"),
]
"""What is repeated, so that a pattern begins anew everywhere."""


@pytest.mark.parametrize("piece", HOSTILE)
def test_the_work_grows_with_the_length_of_a_hostile_text_and_not_with_its_square(piece: str) -> None:
    """16 times the text takes 16 times as long; the square would be 256 times."""
    small, large = (_text_of(piece, size) for size in (2**11, 2**15))
    assert _seconds(large) < 64 * _seconds(small) + 0.01


def _text_of(piece: str, size: int) -> str:
    """With the words that every shape of a credential asks for."""
    return (piece * (size // len(piece) + 1))[:size] + " :// token eyJ"


def _seconds(text: str) -> float:
    """Of the processor, the least of three times."""
    taken = list[float]()
    for _ in range(3):
        began = thread_time()
        ALL.value(text)
        taken.append(thread_time() - began)
    return min(taken)


@pytest.mark.parametrize(
    "text",
    [
        '{"x": "Bearer abcdef", "x": "fine"}',
        '{"postgres://u:hunter2@h": 1}',
        '{"date_of_birth": "1815-12-10", "date_of_birth": null}',
        ' \n{"date_of_birth": "1815-12-10"}',
    ],
)
def test_a_text_that_is_json_hides_nothing_from_its_reader(text: str) -> None:
    cleaned = Redaction(("date_of_birth",)).value(text)
    assert not any(secret in cleaned for secret in ("abcdef", "hunter2", "1815"))
