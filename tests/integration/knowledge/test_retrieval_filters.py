"""Filters leave documents out and nothing else: no match is lost and no score moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError
from tests.integration.knowledge.library import Library

from datalane.contracts.context import Context
from datalane.errors import InvalidInput, LimitExceeded
from datalane.kit.ids import uuid7
from datalane.knowledge.documents.schemas import Document
from datalane.knowledge.methods import Method
from datalane.knowledge.retrieval.schemas import DocumentFilters

QUESTION = "green harbour at night"


@dataclass(frozen=True)
class Shelf:
    """Documents by a short name."""

    library: Library
    documents: dict[str, Document]

    async def found(self, method: Method, filters: dict[str, Any] | None = None, limit: int = 100) -> dict[UUID, Any]:
        """The results by chunk, in their order."""
        answer = await self.library.ask(QUESTION, method, limit=limit, filters=filters)
        return {result.chunk_id: result for result in answer.data}


@pytest.fixture
async def shelf(library: Library) -> Shelf:
    told: dict[str, dict[str, Any]] = {
        "owl": {"tags": ["bird", "night"], "metadata": {"year": 2024, "kind": "note", "done": True}},
        "harbour": {
            "tags": ["sea", "night"],
            "metadata": {"year": 2024, "kind": "log"},
            "source_uri": "https://a.test/1",
        },
        "apple": {"tags": ["garden"], "metadata": {"year": 2023, "kind": "note", "done": None}},
        "lights": {"tags": ["sea"], "metadata": {"year": "2024", "deep": {"a": 1}}, "source_uri": "https://a.test/2"},
        "plain": {},
    }
    texts = {
        "owl": "The owl hunts at night.",
        "harbour": "At night the harbour is quiet; the lights of the harbour are green. " * 60,
        "apple": "Green apples and green pears.",
        "lights": "Green lights over the harbour.",
        "plain": "A harbour at night, green and still.",
    }
    documents = {
        name: await library.bring_in(texts[name], filename=f"{name}.txt", title=name, **told[name]) for name in told
    }
    return Shelf(library, documents)


CASES: list[tuple[dict[str, Any], set[str]]] = [
    ({"tags": {"any": ["bird", "garden"]}}, {"owl", "apple"}),
    ({"tags": {"all": ["sea", "night"]}}, {"harbour"}),
    ({"tags": {"any": ["sea"], "all": ["night"]}}, {"harbour"}),
    ({"tags": {"any": ["nowhere"]}}, set()),
    ({"metadata": {"year": 2024}}, {"owl", "harbour"}),
    ({"metadata": {"year": 2024.0, "kind": "note"}}, {"owl"}),
    ({"metadata": {"year": "2024"}}, {"lights"}),
    ({"metadata": {"done": None}}, {"apple"}),
    ({"metadata": {"done": True}}, {"owl"}),
    ({"source_uris": ["https://a.test/1", "https://a.test/9"]}, {"harbour"}),
    (
        {"tags": {"any": ["night", "sea"]}, "metadata": {"kind": "log"}, "source_uris": ["https://a.test/1"]},
        {"harbour"},
    ),
    ({"tags": {}}, {"owl", "harbour", "apple", "lights", "plain"}),
]


@pytest.mark.parametrize("method", list(Method))
async def test_filters_leave_documents_out_and_move_no_score(shelf: Shelf, method: Method) -> None:
    everything = await shelf.found(method)
    for filters, names in CASES:
        admitted = {shelf.documents[name].document_id for name in names}
        expected = [key for key, result in everything.items() if result.document_id in admitted]
        found = await shelf.found(method, filters)
        assert set(found) == set(expected), filters
        if method is not Method.HYBRID:  # whose scores are relative to what was found
            assert list(found) == expected, filters
        for key, result in found.items():
            assert result.component_scores == everything[key].component_scores, filters


async def test_a_few_documents_among_many_are_all_found(shelf: Shelf) -> None:
    """What a filter applied to the best of all would lose."""
    for method in Method:
        found = await shelf.found(method, {"document_ids": [str(shelf.documents["apple"].document_id)]}, limit=1)
        assert [result.source_title for result in found.values()] == ["apple"]


async def test_an_older_version_is_not_admitted(shelf: Shelf) -> None:
    document_id = shelf.documents["owl"].document_id
    await shelf.library.bring_in("Green by night.", document_id=document_id)
    found = await shelf.found(Method.HYBRID, {"document_ids": [document_id]})
    assert [result.text for result in found.values()] == ["Green by night."]


async def test_another_workspace_s_documents_are_not_admitted(shelf: Shelf, other_context: Context) -> None:
    foreign = await shelf.library.bring_in("A green harbour at night.", other_context, tags=["sea"])
    for filters in ({"document_ids": [foreign.document_id]}, {"tags": {"any": ["sea"]}}):
        for method in Method:
            found = await shelf.found(method, filters)
            assert foreign.document_id not in {result.document_id for result in found.values()}
    assert await shelf.found(Method.HYBRID, {"document_ids": [foreign.document_id, uuid7()]}) == {}


WRONG: list[Callable[[], dict[str, Any]]] = [
    lambda: {"tag": {"any": ["a"]}},
    lambda: {"tags": {"none": ["a"]}},
    lambda: {"tags": {"any": []}},
    lambda: {"tags": {"any": ["a"] * 101}},
    lambda: {"tags": {"any": ["half \ud800"]}},
    lambda: {"tags": {"any": ["nul \x00"]}},
    lambda: {"metadata": {}},
    lambda: {"metadata": {"nul \x00": 1}},
    lambda: {"metadata": {"deep": {"a": 1}}},
    lambda: {"metadata": {"list": [1]}},
    lambda: {"document_ids": ["x"]},
    lambda: {"document_ids": [str(uuid7())] * 1_001},
    lambda: {"source_uris": []},
]


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_filter_is_refused(wrong: Callable[[], dict[str, Any]]) -> None:
    with pytest.raises(ValidationError):
        DocumentFilters.model_validate(wrong())


async def test_metadata_that_the_database_cannot_hold_is_refused(idle_library: Library) -> None:
    with pytest.raises(InvalidInput, match="the metadata"):
        await idle_library.ask("owl", Method.HYBRID, filters={"metadata": {"big": 2**64}})
    with pytest.raises(LimitExceeded, match="the metadata"):
        await idle_library.ask("owl", Method.HYBRID, filters={"metadata": {"long": "x" * 100_000}})
