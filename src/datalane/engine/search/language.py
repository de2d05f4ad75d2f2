"""The language that a workspace's texts are in."""

from __future__ import annotations

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction

DEFAULT_LANGUAGE = "english"

_queries = load_queries(__file__)


async def search_language(tx: Transaction) -> str:
    """The workspace's text search configuration, to look for words by."""
    language = await _queries.get_search_language(tx.connection, workspace_id=tx.workspace_id)
    return language or DEFAULT_LANGUAGE


async def hold_search_language(tx: Transaction) -> str:
    """The same, to index texts by: nobody sets another one until `tx` ends."""
    return await _queries.hold_search_language(tx.connection) or DEFAULT_LANGUAGE
