"""The assistant's own words: what it takes for a wish, and which sentences it answers with."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from datalane.agents.assistant.extraction import extract, prove, sentences_in, words_of
from datalane.agents.assistant.wishes import Wish, read_wish
from datalane.settings import AssistantSettings

HERONS = (
    "# Birds\n\nHerons stand in the reeds. They eat fish and frogs!  Is a heron grey? Most are.\n- Owls hunt at night."
)


def a_chunk(text: str, start: int = 0) -> dict[str, Any]:
    return {"chunk_id": text[:8], "text": text, "start_offset": start}


@pytest.mark.parametrize(
    ("said", "title", "description"),
    [
        ("create an item: Paint the fence", "Paint the fence", ""),
        ("Please add a new task:  Paint\nBoth sides.\nTwice.", "Paint", "Both sides.\nTwice."),
        ("NOTE: the key is under the mat", "the key is under the mat", ""),
        ("remind me to call Ada", "call Ada", ""),
        ("Remind us: the harbour closes at six", "the harbour closes at six", ""),
        ("make a to-do: " + "x" * 600, "x" * 500, "x" * 100),
    ],
)
def test_a_wish_is_said_in_one_of_a_few_ways(said: str, title: str, description: str) -> None:
    assert read_wish(said) == Wish(title, description)


@pytest.mark.parametrize(
    "said",
    [
        "How do I create an item: by hand?",
        "create an item",
        "create an item:   ",
        "What does the note: say?",
        "remind",
        "Who reminds me to call?",
        "",
    ],
)
def test_all_else_is_a_question(said: str) -> None:
    assert read_wish(said) is None


def test_sentences_end_at_their_marks_and_at_lines_and_leave_the_marks_of_lists() -> None:
    assert [HERONS[start:end] for start, end in sentences_in(HERONS)] == [
        "Birds",
        "Herons stand in the reeds.",
        "They eat fish and frogs!",
        "Is a heron grey?",
        "Most are.",
        "Owls hunt at night.",
    ]


@given(st.text(max_size=400))
def test_every_sentence_is_a_place_in_the_text_and_no_word_is_lost(text: str) -> None:
    places = list(sentences_in(text))
    assert all(0 <= start < end <= len(text) for start, end in places)
    assert all(before[1] <= after[0] for before, after in pairwise(places))
    kept = "".join(text[start:end] for start, end in places)
    letters = re.compile(r"[^\W\d_]")
    assert letters.findall(kept) == letters.findall(text)


def test_the_answer_is_what_shares_most_words_with_the_question() -> None:
    chunks = [a_chunk(HERONS, 100), a_chunk("Herons eat frogs, and so do storks.")]
    found = extract("What do herons eat: frogs?", chunks)
    assert [one.text for one in found] == [
        "Herons eat frogs, and so do storks.",
        "They eat fish and frogs!",
    ]
    assert [HERONS[one.start - 100 : one.end - 100] for one in found[1:]] == ["They eat fish and frogs!"]


def test_nothing_is_said_where_nothing_is_shared() -> None:
    assert extract("Which lighthouses shine?", [a_chunk(HERONS)]) == []
    assert extract("What is it?", [a_chunk(HERONS)]) == []
    assert extract("herons", []) == []


def test_a_sentence_that_stands_twice_is_said_once() -> None:
    assert len(extract("reeds", [a_chunk("Herons like reeds."), a_chunk("Herons like reeds.", 50)])) == 1


def test_only_a_place_with_most_of_its_words_proves_a_sentence() -> None:
    proved = prove("Herons are standing in reeds.", [a_chunk(HERONS, 7)])
    assert proved is not None
    assert (proved.text, proved.start) == ("Herons stand in the reeds.", 7 + HERONS.index("Herons"))
    assert prove("Herons invented the lighthouse in 1850.", [a_chunk(HERONS)]) is None
    assert prove("It is so.", [a_chunk(HERONS)]) is None


def test_endings_make_no_other_word() -> None:
    assert words_of("Herons, eating & FISHES") == words_of("heron eat fish")


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"model": "owl-1"}, "BASE_URL is missing"),
        ({"api_key": "sk-1"}, "BASE_URL is missing"),
        ({"base_url": "https://models.example.com/v1"}, "needs DATALANE_ASSISTANT__MODEL"),
        ({"base_url": "ftp://models.example.com", "model": "owl-1"}, "must begin with https:// or http://"),
        ({"base_url": "http://models.example.com", "model": "owl-1", "api_key": "k"}, "where a key is sent"),
        ({"base_url": "https://models.example.com", "model": "owl-1", "timeout": "121"}, "less than or equal"),
    ],
)
def test_settings_of_a_model_that_cannot_be_are_refused(said: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        AssistantSettings(**said)


def test_a_model_on_this_machine_or_by_https_may_be_given_a_key() -> None:
    for url in ("http://127.0.0.1:8000/v1", "https://models.example.com/v1"):
        assert AssistantSettings(base_url=url, model="owl-1", api_key=SecretStr("k")).is_on
    assert not AssistantSettings().is_on
