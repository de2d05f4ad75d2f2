"""Text in a list of items: every word must occur, in title or description.

The postings of the workspace have the words; nothing is ranked. The word that the fewest items have gives the
candidates, the newest of them when there are more than `MOST_CANDIDATES` (ids of items are in the order of their
making), and each is looked up by its key in the postings of the other words. So a text costs at most as many look-ups
as there are candidates and words, however many items there are.
"""

from __future__ import annotations

from collections.abc import Sequence

from datalane.engine.search.index import Collection
from datalane.engine.search.keyword import MOST_TERMS
from datalane.work.query.clauses import Order, Parameters, Position
from datalane.work.query.walking import Conditions

MOST_CANDIDATES = 10_000

_WORDS = """words AS MATERIALIZED (
  SELECT hashtextextended(lexeme, 0) AS term_id FROM unnest(to_tsvector({language}::regconfig, {text})) LIMIT {terms}),
sized AS MATERIALIZED (
  SELECT w.term_id, (SELECT count(*) FROM (
    SELECT FROM datalane.search_postings p
    WHERE p.workspace_id = {workspace} AND p.collection = {collection} AND p.term_id = w.term_id
    LIMIT {most}) AS seen) AS items
  FROM words w ORDER BY items, w.term_id),
rarest AS MATERIALIZED (SELECT term_id, items FROM sized LIMIT 1),
newest AS MATERIALIZED (
  SELECT p.entry_id AS item_id FROM datalane.search_postings p
  WHERE p.workspace_id = {workspace} AND p.collection = {collection} AND p.term_id = (SELECT term_id FROM rarest)
  ORDER BY p.entry_id DESC LIMIT {most} - 1),
candidates AS MATERIALIZED (
  SELECT i.item_id FROM newest i WHERE {looked_up}(
    SELECT true FROM sized w WHERE w.term_id <> (SELECT term_id FROM rarest) AND NOT EXISTS (
      SELECT FROM datalane.search_postings p
      WHERE p.workspace_id = {workspace} AND p.collection = {collection} AND p.term_id = w.term_id
        AND p.entry_id = i.item_id OFFSET 0)
    LIMIT 1) IS NULL),
matched AS MATERIALIZED (
  SELECT found.item_id, found.{column} FROM candidates c CROSS JOIN LATERAL (
    SELECT i.item_id, i.{column} FROM datalane.items i
    WHERE {conditions} AND i.item_id = c.item_id OFFSET 0) AS found),
page AS MATERIALIZED (
  SELECT found.* FROM (SELECT m.item_id FROM matched m {after} {order} LIMIT {rows}) AS chosen CROSS JOIN LATERAL (
    SELECT {columns} FROM datalane.items i
    WHERE i.workspace_id = {workspace} AND i.item_id = chosen.item_id OFFSET 0) AS found)"""
"""OFFSET 0 fixes the plan: look up each candidate by its key. What the planner expects of words is far off, and
walking all items in their order to meet two of them would take seconds."""


def text_statement(
    workspace: str,
    conditions: Conditions,
    order: Order,
    values: Parameters,
    text: str,
    language: str,
    after: Position | None,
    rows: int,
    columns: Sequence[str],
) -> tuple[str, str, str]:
    """The common tables up to `page`, the count, and what is told of the text."""
    most = values.add(MOST_CANDIDATES + 1, "bigint")
    with_items = _WORDS.format(
        language=values.add(language, "text"),
        text=values.add(text, "text"),
        terms=values.add(MOST_TERMS + 1, "bigint"),
        workspace=workspace,
        collection=values.add(int(Collection.ITEMS), "smallint"),
        most=most,
        column=order.column,
        conditions=" AND ".join([*conditions.easy, *conditions.beside, *conditions.far]),
        looked_up="".join(f"{each.looked_up} AND " for each in conditions.narrow),
        after="" if after is None else f"WHERE {order.after('m', values, after)}",
        order=order.by("m"),
        rows=values.add(rows, "bigint"),
        columns=", ".join(f"i.{column}" for column in columns),
    )
    told = (
        "(SELECT count(*) FROM words) AS text_terms, "
        f"coalesce((SELECT items >= {most} FROM rarest), false) AS text_bounded"
    )
    return with_items, "(SELECT count(*) FROM matched)", told
