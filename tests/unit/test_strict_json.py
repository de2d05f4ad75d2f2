"""Strict JSON: what two readers could understand differently is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalane.errors import InvalidInput
from datalane.kit.strict_json import parse_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(VALUES)
def test_what_json_can_say_is_understood(value: Any) -> None:
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"a": 1, "a": 1}', "'a' more than once"),
        (b'{"x": [{"b": 1, "\\u0062": 2}]}', "'b' more than once"),
        (b"NaN", "NaN"),
        (b"[Infinity]", "Infinity"),
        (b"[-1e400]", "too large"),
        (b'["\\udc00"]', "surrogate"),
        (b'{"\\ud800": 1}', "surrogate"),
        (b"\xff\xfe", "UTF-8"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b"", "not valid JSON"),
        (b"{} {}", "line 1 column 4"),
        (b"[1,]", "not valid JSON"),
        (b"{'a': 1}", "not valid JSON"),
        (b"[" + b"9" * 5_000 + b"]", "64 bits"),
        (b"[18446744073709551616]", "64 bits"),
    ],
)
def test_what_is_ambiguous_is_refused_with_the_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        parse_json(raw)


def test_the_depth_is_counted_outside_strings() -> None:
    assert parse_json('["' + "[" * 100 + '\\""]', depth=1) == ["[" * 100 + '"']
    assert parse_json("[" * 64 + "]" * 64) is not None
    with pytest.raises(InvalidInput, match="deeper than 64"):
        parse_json("[" * 65 + "]" * 65)
    assert len(parse_json("[" + "[],{}," * 100 + "1]", depth=2)) == 201


def test_the_error_names_what_was_read() -> None:
    with pytest.raises(InvalidInput, match="line 7 of queries"):
        parse_json("{", name="line 7 of queries")
