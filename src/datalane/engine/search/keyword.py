"""BM25 over the inverted index of one workspace."""

from __future__ import annotations

from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.search.index import Collection

MOST_TERMS = 32

_queries = load_queries(__file__)


async def search_keyword(
    tx: Transaction, collection: Collection, text: str, language: str, most: int
) -> dict[UUID, float]:
    """Entries by BM25 score, best first, ties by id; empty when no term of `text` is indexed or all are stop words."""
    rows = await _queries.search_keyword(
        tx.connection,
        workspace_id=tx.workspace_id,
        collection=collection,
        language=language,
        text=text,
        most_terms=MOST_TERMS,
        most=most,
    )
    return {row["entry_id"]: row["score"] for row in rows}
