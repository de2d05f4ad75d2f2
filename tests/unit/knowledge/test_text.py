"""Canonical text: decoded, NUL stripped, line endings LF, nothing else touched."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalane.knowledge.parsing.errors import UndecodableText
from datalane.knowledge.text import canonicalize_text, decode_text, repair_text


def test_mixed_line_endings_become_line_feeds() -> None:
    assert decode_text(b"a\r\nb\rc\nd\r\r\ne") == "a\nb\nc\nd\n\ne"


def test_nul_characters_are_stripped_and_nothing_else_is() -> None:
    assert decode_text("a\0b\x01\u00a0e\u0301\ufb01".encode()) == "ab\x01\u00a0e\u0301\ufb01"


def test_nul_between_carriage_return_and_line_feed_leaves_one_line_end() -> None:
    assert decode_text(b"a\r\0\nb") == "a\nb"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_names_the_encoding_and_is_not_text(encoding: str) -> None:
    assert decode_text("naïve 😀\r\n".encode(encoding)) == "naïve 😀\n"


def test_utf_16_big_endian_with_mark_is_read() -> None:
    assert decode_text(b"\xfe\xff" + "häh".encode("utf-16-be")) == "häh"


def test_bytes_that_are_not_utf_8_are_refused_naming_the_byte() -> None:
    with pytest.raises(UndecodableText, match="byte 3") as caught:
        decode_text("caf\u00e9".encode("latin-1"))
    assert caught.value.code == "undecodable_text"
    assert not caught.value.retryable


def test_a_lone_surrogate_in_utf_8_bytes_is_refused() -> None:
    with pytest.raises(UndecodableText):
        decode_text("a\ud800b".encode("utf-8", "surrogatepass"))


def test_a_lone_surrogate_in_utf_16_bytes_is_refused() -> None:
    with pytest.raises(UndecodableText):
        decode_text(b"\xff\xfe" + "a\udc00b".encode("utf-16-le", "surrogatepass"))


def test_a_lone_surrogate_in_a_string_is_refused_naming_it() -> None:
    with pytest.raises(UndecodableText, match=r"U\+D83D.*character 2"):
        canonicalize_text("ab\ud83dc")


def test_extractor_output_keeps_surrogate_pairs_and_replaces_lone_ones() -> None:
    assert repair_text("x\ud83d\ude00y\udc00z\r\n") == "x😀y\ufffdz\n"


@given(st.text())
def test_canonical_text_is_stable_and_encodable(text: str) -> None:
    once = canonicalize_text(text)
    assert canonicalize_text(once) == once
    assert decode_text(once.encode()) == once or once.startswith("\ufeff")
    assert "\0" not in once
    assert "\r" not in once
