"""What JSON cannot hold is refused before it reaches the database."""

from __future__ import annotations

import math

import pytest

from datalane.errors import InvalidInput, LimitExceeded
from datalane.kit.jsonlimits import encode_within


@pytest.mark.parametrize("value", [{"a": math.nan}, [[math.inf]], -math.inf, {"a": [None, {"b": math.nan}]}])
def test_numbers_that_json_does_not_know_are_refused(value: object) -> None:
    with pytest.raises(InvalidInput, match="NaN or Infinity"):
        encode_within(value, "the payload", 1_000, 32)


def test_null_is_kept() -> None:
    assert encode_within({"a": None}, "the payload", 1_000, 32) == '{"a":null}'


def test_a_nul_character_is_refused_and_the_text_of_one_is_not() -> None:
    with pytest.raises(InvalidInput, match="NUL"):
        encode_within({"a": "x\x00"}, "the payload", 1_000, 32)
    with pytest.raises(InvalidInput, match="NUL"):
        encode_within({"a": "\\\x00"}, "the payload", 1_000, 32)
    assert encode_within({"a": r"\u0000"}, "the payload", 1_000, 32) == r'{"a":"\\u0000"}'


def test_depth_and_size_name_their_limit() -> None:
    with pytest.raises(LimitExceeded, match="limit of 2"):
        encode_within([[[]]], "the payload", 1_000, 2)
    with pytest.raises(LimitExceeded, match="limit of 10"):
        encode_within("x" * 20, "the payload", 10, 2)
