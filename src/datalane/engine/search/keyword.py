"""BM25 over the inverted index of one workspace, and which words made an entry match."""

from __future__ import annotations

from collections.abc import Collection as Several
from collections.abc import Sequence
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.search.index import Collection

MOST_TERMS = 32

_queries = load_queries(__file__)


async def search_keyword(
    tx: Transaction,
    collection: Collection,
    text: str,
    language: str,
    most: int,
    among: Sequence[UUID] | None = None,
) -> dict[UUID, float]:
    """Entries by BM25 score, best first, ties by id; empty when no term of `text` is indexed or all are stop words.

    With `among` only those entries are found; their scores are the same as without it.
    """
    rows = await _queries.search_keyword(
        tx.connection,
        workspace_id=tx.workspace_id,
        collection=collection,
        language=language,
        text=text,
        most_terms=MOST_TERMS,
        among=among,
        most=most,
    )
    return {row["entry_id"]: row["score"] for row in rows}


async def matched_terms(
    tx: Transaction, collection: Collection, text: str, language: str, entry_ids: Sequence[UUID]
) -> dict[UUID, list[str]]:
    """The terms of `text` (stems, sorted) that each entry has; entries with none are left out."""
    rows = await _queries.matched_terms(
        tx.connection,
        workspace_id=tx.workspace_id,
        collection=collection,
        language=language,
        text=text,
        entry_ids=entry_ids,
    )
    return {row["entry_id"]: sorted(row["terms"]) for row in rows}


async def words_of_terms(tx: Transaction, text: str, language: str, words: Several[str]) -> frozenset[str]:
    """Those of `words`, as they are written, that have a term in common with `text`."""
    rows = await _queries.words_of_terms(tx.connection, language=language, text=text, words=list(words))
    return frozenset(row["word"] for row in rows)
