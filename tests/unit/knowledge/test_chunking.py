"""Chunks have true offsets in characters and bytes, whatever the text holds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalane.knowledge import chunking
from datalane.knowledge.chunking import CHUNK_CHARACTERS, Chunk, check_places, chunk_text
from datalane.knowledge.parsing.errors import TooManyChunks, WrongOffsets

FAMILY = "👨\u200d👩\u200d👧\u200d👦"
PIECES = st.sampled_from([
    "a", "word ", " ", "\n", "\n\n", ". ", "é", "e\u0301", "\u0301", " \u0301", "漢字", "😀", "👍🏽", FAMILY, "🇩🇪",
    "\u200d", "\u2028", "\x85", "x" * 300, " " * 300, "sentence one. Sentence two! ",
])  # fmt: skip


def assert_true_offsets(text: str, chunks: list[Chunk]) -> None:
    encoded = text.encode()
    end = 0
    for ordinal, chunk in enumerate(chunks):
        assert chunk.ordinal == ordinal
        assert end <= chunk.start < chunk.end <= len(text)
        assert chunk.end - chunk.start <= CHUNK_CHARACTERS + 1
        assert encoded[chunk.start_byte : chunk.end_byte].decode() == text[chunk.start : chunk.end]
        assert not text[end : chunk.start].strip(), "only white space may lie between chunks"
        end = chunk.end
    assert not text[end:].strip()


@settings(deadline=None)
@given(st.lists(PIECES, max_size=120), st.integers(1, 40))
def test_offsets_agree_and_no_byte_is_covered_twice(pieces: list[str], repeat: int) -> None:
    text = "".join(pieces) * repeat
    chunks = chunk_text(text)
    assert_true_offsets(text, chunks)
    check_places(text, chunks)


@pytest.mark.parametrize("text", ["A plain text of two parts.", "Äpfel, Öl und Fläschchen 😀"])
@pytest.mark.parametrize(
    ("field", "by"), [("start_byte", 1), ("end_byte", 1), ("start_byte", -1), ("start", 1), ("end", 40), ("ordinal", 1)]
)
def test_chunks_that_are_not_where_they_say_are_told(text: str, field: str, by: int) -> None:
    middle = len(text) // 2
    first = Chunk(0, 0, middle, 0, len(text[:middle].encode()))
    second = Chunk(1, middle, len(text), first.end_byte, len(text.encode()))
    check_places(text, [first, second])
    for place, chunk in enumerate((first, second)):
        wrong = [first, second]
        wrong[place] = chunk._replace(**{field: getattr(chunk, field) + by})
        with pytest.raises(WrongOffsets):
            check_places(text, wrong)
    with pytest.raises(WrongOffsets):
        check_places(text, [second._replace(ordinal=0), first._replace(ordinal=1)])


def test_bytes_that_are_shifted_together_are_told_though_their_lengths_are_right() -> None:
    text = "Kräuter und Salz."
    [chunk] = chunk_text(text)
    with pytest.raises(WrongOffsets):
        check_places(text, [chunk._replace(start_byte=chunk.start_byte + 1, end_byte=chunk.end_byte + 1)])


@settings(deadline=None)
@given(st.text(max_size=200), st.integers(1, 60))
def test_offsets_agree_for_any_unicode(text: str, repeat: int) -> None:
    assert_true_offsets(text * repeat, chunk_text(text * repeat))


@pytest.mark.parametrize("cluster", ["e\u0301", FAMILY, "👍🏽", "o\u0302\u0323", "\u0915\u0947"])
def test_a_grapheme_at_a_chunk_border_stays_whole(cluster: str) -> None:
    for shift in range(len(cluster) + 1):
        text = "x" * shift + cluster * 3000
        borders = {chunk.start for chunk in chunk_text(text)} - {0}
        assert borders
        assert all((border - shift) % len(cluster) == 0 for border in borders)


def test_a_mark_on_a_space_keeps_its_space() -> None:
    text = ("x" * (CHUNK_CHARACTERS - 1) + " \u0301") * 3
    for chunk in chunk_text(text):
        assert text[chunk.start] != "\u0301"


@pytest.mark.parametrize("text", ["", " ", "\n\n", " \t\n" * 9000, "\u2003"])
def test_white_space_alone_gives_no_chunk(text: str) -> None:
    assert chunk_text(text) == []


def test_a_short_text_is_one_chunk_without_outer_white_space() -> None:
    assert chunk_text("\n  grüße 😀  \n") == [Chunk(0, 3, 10, 3, 15)]


def test_running_text_gives_chunks_of_a_thousand_characters_or_more() -> None:
    text = "The boundary layer separates near the trailing edge of the wing.\n" * 2000
    lengths = [chunk.end - chunk.start for chunk in chunk_text(text)]
    assert min(lengths[:-1]) >= 1000
    assert max(lengths) <= CHUNK_CHARACTERS


def test_windows_leave_no_mark_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "Alpha beta, gamma delta. Epsilon!\nZeta eta theta\n\n" * 1500
    windowed = chunk_text(text)
    monkeypatch.setattr(chunking, "_WINDOW", len(text))
    assert windowed == chunk_text(text)


def test_a_word_after_a_long_gap_and_before_another_is_not_lost() -> None:
    text = (" \u0301" + "a" * 10 + " " * 9000) * 3 + "end"
    assert_true_offsets(text, chunk_text(text))


def test_a_million_characters_without_any_border_are_split() -> None:
    assert len(chunk_text("a" * 1_000_000)) == 500


def test_one_chunk_past_the_limit_is_an_error_that_names_it() -> None:
    text = "x" * (CHUNK_CHARACTERS * 5)
    assert len(chunk_text(text, max_chunks=5)) == 5
    with pytest.raises(TooManyChunks, match="more than 4 chunks") as caught:
        chunk_text(text, max_chunks=4)
    assert caught.value.code == "too_many_chunks"
