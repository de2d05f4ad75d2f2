"""Why a chunk was found, and what stands around it: matched terms, places of matching words, neighbouring chunks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.search.index import Collection
from datalane.engine.search.keyword import matched_terms, words_of_terms
from datalane.knowledge.methods import Method
from datalane.knowledge.retrieval.schemas import Place, Query, Surroundings

_WORD = re.compile(r"\d+(?:[.,]\d+)+|\w+")
"""What the database makes a term of, as far as it is one run of letters and digits."""

_queries = load_queries(__file__)


@dataclass(frozen=True, slots=True)
class Explanations:
    """By chunk. None stands for what was not asked for."""

    terms: Mapping[UUID, list[str]] | None = None
    highlights: Mapping[UUID, list[Place]] | None = None
    surroundings: Mapping[UUID, Surroundings] = field(default_factory=dict)

    def of(self, chunk_id: UUID) -> dict[str, Any]:
        """The members of the chunk's result."""
        return {
            "matched_terms": None if self.terms is None else self.terms.get(chunk_id, []),
            "highlights": None if self.highlights is None else self.highlights.get(chunk_id, []),
            "surroundings": self.surroundings.get(chunk_id),
        }


async def explain(tx: Transaction, query: Query, text: str, language: str, rows: Mapping[UUID, Any]) -> Explanations:
    """`rows` are the chunks of the answer to `query`, whose cleaned text is `text`."""
    if not rows:
        return Explanations()
    return Explanations(
        terms=None
        if query.method is Method.SEMANTIC
        else await matched_terms(tx, Collection.CHUNKS, text, language, list(rows)),
        highlights=await _highlights(tx, text, language, rows) if query.highlight else None,
        surroundings=await _surroundings(tx, list(rows), query.neighbours) if query.neighbours else {},
    )


async def _highlights(tx: Transaction, text: str, language: str, rows: Mapping[UUID, Any]) -> dict[UUID, list[Place]]:
    places = {key: list(_WORD.finditer(row["text"])) for key, row in rows.items()}
    words = {word.group() for found in places.values() for word in found}
    matching = await words_of_terms(tx, text, language, words)
    return {
        key: [_place(word, rows[key]["start_offset"]) for word in found if word.group() in matching]
        for key, found in places.items()
    }


def _place(word: re.Match[str], start: int) -> Place:
    return Place(start + word.start(), start + word.end())


async def _surroundings(tx: Transaction, chunk_ids: list[UUID], steps: int) -> dict[UUID, Surroundings]:
    rows = await _queries.read_surroundings(
        tx.connection, workspace_id=tx.workspace_id, chunk_ids=chunk_ids, steps=steps
    )
    return {row["chunk_id"]: Surroundings(row["start_offset"], row["end_offset"], row["body"]) for row in rows}
