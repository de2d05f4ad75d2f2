"""The proofs of the demo are not blind: they find what they are there to find."""

from __future__ import annotations

import hashlib

import httpx
import pytest

from datalane.demo.evidence import holds, sentence
from datalane.demo.isolation import Detector
from datalane.demo.targets import Ids, Property
from datalane.kit.ids import uuid7

TEXT = "Übermut tut selten gut. 🦉 Eulen jagen nachts."


def owned() -> Property:
    return Property(Ids(*((uuid7(),) for _ in range(10))), ["a secret passage"])


def answer(body: object) -> httpx.Response:
    return httpx.Response(200, json=body)


def test_a_row_with_a_foreign_id_is_counted_once() -> None:
    property_ = owned()
    foreign, own = str(property_.ids.documents[0]), str(uuid7())
    body = {"data": [{"document_id": foreign, "chunk_id": str(property_.ids.chunks[0])}, {"document_id": own}]}
    assert Detector(property_).count(answer(body)) == 1


def test_a_foreign_text_is_counted_without_any_id() -> None:
    assert Detector(owned()).count(answer({"data": [{"text": "a secret passage"}]})) == 1


def test_an_id_inside_a_sentence_is_found() -> None:
    property_ = owned()
    body = {"detail": f"there is no document {property_.ids.documents[0]} here"}
    assert Detector(property_).count(answer(body)) == 1


def test_an_id_in_a_page_that_is_not_json_is_found() -> None:
    property_ = owned()
    page = httpx.Response(200, text=f"<p>{property_.ids.jobs[0]}</p>", headers={"content-type": "text/html"})
    assert Detector(property_).count(page) == 1


def test_an_innocent_answer_counts_nothing() -> None:
    assert Detector(owned()).count(answer({"data": [{"document_id": str(uuid7())}], "next_cursor": None})) == 0


def cited(**changes: object) -> dict[str, object]:
    quote = TEXT[24:]
    row: dict[str, object] = {
        "quote_start_offset": 24,
        "quote_end_offset": len(TEXT),
        "quote_sha256": hashlib.sha256(quote.encode()).digest(),
        "start_offset": 0,
        "end_offset": len(TEXT),
        "start_byte": 0,
        "end_byte": len(TEXT.encode()),
        "chunk_text": TEXT,
        "segment_text": quote,
    }
    return {**row, **changes}


def test_a_true_citation_holds() -> None:
    assert holds(cited(), TEXT)


@pytest.mark.parametrize(
    "changes",
    [
        {"quote_start_offset": 25},
        {"quote_end_offset": len(TEXT) - 1},
        {"end_byte": len(TEXT)},
        {"start_byte": 1},
        {"end_offset": len(TEXT) - 1},
        {"chunk_text": None},
        {"chunk_text": TEXT + " "},
        {"quote_sha256": b"x" * 32},
        {"segment_text": "something else"},
    ],
)
def test_a_citation_that_is_off_by_anything_fails(changes: dict[str, object]) -> None:
    assert not holds(cited(**changes), TEXT)


def test_a_citation_of_a_text_that_is_gone_fails() -> None:
    assert not holds(cited(), None)


@pytest.mark.parametrize("text", ["One.", "One. Two. Three.", ". . .", "no end", "a. b", "…"])
def test_a_sentence_lies_inside_its_text(text: str) -> None:
    start, end = sentence(text)
    assert 0 <= start < end <= len(text)
