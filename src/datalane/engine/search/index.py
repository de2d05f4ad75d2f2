"""The inverted index: entries in, entries out, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction

_queries = load_queries(__file__)


class Collection(IntEnum):
    """Whose entries they are."""

    CHUNKS = 1
    ITEMS = 2


async def add_entries(
    tx: Transaction, collection: Collection, entry_ids: Sequence[UUID], texts: Sequence[str], language: str
) -> None:
    """Index `texts[i]` as `entry_ids[i]`; `language` is a text search configuration of the database."""
    await _queries.add_entries(
        tx.connection,
        workspace_id=tx.workspace_id,
        collection=collection,
        entry_ids=entry_ids,
        texts=texts,
        language=language,
    )


async def remove_entries(tx: Transaction, collection: Collection, entry_ids: Sequence[UUID]) -> int:
    """Take entries out; unknown ones are passed over. Answers how many postings went with them."""
    status: str = await _queries.remove_entries(
        tx.connection, workspace_id=tx.workspace_id, collection=collection, entry_ids=entry_ids
    )
    return int(status.removeprefix("DELETE "))
