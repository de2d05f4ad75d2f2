"""Text in a list of items: every word must occur, in title or description.

The postings of the workspace have the words; nothing is ranked. The word that the fewest items have gives the
candidates, the newest of them when there are more than `MOST_CANDIDATES` (ids of items are in the order of their
making), and each is looked up by its key in the postings of the other words. So a text costs at most as many look-ups
as there are candidates and words, however many items there are.

A single word beside tags or metadata has a statement of its own. Since the word is in it, the planner knows how many
items have it, and chooses whether each is looked up in the narrow tables or all that they have is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datalane.engine.search.index import Collection
from datalane.engine.search.keyword import MOST_TERMS
from datalane.work.query.clauses import Order, Parameters, Position
from datalane.work.query.walking import FILTERED, Conditions

MOST_CANDIDATES = 10_000

_ONE = """terms AS MATERIALIZED (SELECT cardinality({lexemes})::bigint AS words),
newest AS MATERIALIZED (
  SELECT p.entry_id AS item_id FROM datalane.search_postings p
  WHERE p.workspace_id = {workspace} AND p.collection = {collection} AND p.term_id = hashtextextended(({lexemes})[1], 0)
  ORDER BY p.entry_id DESC LIMIT {most}),
candidates AS MATERIALIZED (
  SELECT i.item_id FROM (SELECT n.item_id FROM newest n LIMIT {most} - 1) AS i WHERE {joined}),"""
_EVERY = """words AS MATERIALIZED (
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
  SELECT i.item_id FROM newest i WHERE {looked_up}((SELECT count(*) FROM words) = 1 OR (
    SELECT true FROM sized w WHERE w.term_id <> (SELECT term_id FROM rarest) AND NOT EXISTS (
      SELECT FROM datalane.search_postings p
      WHERE p.workspace_id = {workspace} AND p.collection = {collection} AND p.term_id = w.term_id
        AND p.entry_id = i.item_id OFFSET 0)
    LIMIT 1) IS NULL)),"""
_PAGE = """
matched AS MATERIALIZED (
  SELECT i.item_id, i.{column} FROM candidates c CROSS JOIN LATERAL (
    SELECT i.item_id, i.deleted_at, {filtered} FROM datalane.items i
    WHERE i.workspace_id = {workspace} AND i.item_id = c.item_id OFFSET 0) AS i
  WHERE {conditions}),
page AS MATERIALIZED (
  SELECT found.* FROM (SELECT m.item_id FROM matched m {after} {order} LIMIT {rows}) AS chosen CROSS JOIN LATERAL (
    SELECT {columns} FROM datalane.items i
    WHERE i.workspace_id = {workspace} AND i.item_id = chosen.item_id OFFSET 0) AS found)"""
"""OFFSET 0 fixes the plan: look up each candidate by its key, and by nothing that it is filtered by. What the planner
expects of several words is far off, and walking all items in their order to meet two of them would take seconds."""
COUNTED = "(SELECT count(*) FROM matched)"
"""How many items the text finds."""


def is_one_word(text: str) -> bool:
    """Whether no language that stems its words makes more than one of `text`."""
    bare = text.strip()
    return bare.isascii() and bare.isalpha()


@dataclass(frozen=True, slots=True)
class TextPage:
    """A page of `rows` items that have the words of `text` by `language`, a text search configuration.

    Each way gives the common tables up to `page`, which has `columns`, and what is told of the text.
    """

    conditions: Conditions
    workspace: str
    order: Order
    values: Parameters
    text: str
    language: str
    after: Position | None
    rows: int
    columns: Sequence[str]

    def of_one_word(self) -> tuple[str, str]:
        """As `of_every_word`, where the text is one. `is_answered` says whether it was: languages may make more."""
        language, text = self.values.add(self.language, "text"), self.values.add(self.text, "text")
        most = self.values.add(MOST_CANDIDATES + 1, "bigint")
        found = _ONE.format(
            lexemes=f"tsvector_to_array(to_tsvector({language}::regconfig, {text}))",
            workspace=self.workspace,
            collection=self.values.add(int(Collection.ITEMS), "smallint"),
            most=most,
            joined=" AND ".join(self.conditions.joined) or "true",
        )
        words = "(SELECT words FROM terms)"
        bounded = f"(SELECT count(*) FROM newest) = {most}"
        told = f"{words} <= 1 AS is_answered, false AS is_far, {words} AS text_terms, {bounded} AS text_bounded"
        return found + self._page, told

    def of_every_word(self) -> tuple[str, str]:
        most = self.values.add(MOST_CANDIDATES + 1, "bigint")
        found = _EVERY.format(
            language=self.values.add(self.language, "text"),
            text=self.values.add(self.text, "text"),
            terms=self.values.add(MOST_TERMS + 1, "bigint"),
            workspace=self.workspace,
            collection=self.values.add(int(Collection.ITEMS), "smallint"),
            most=most,
            looked_up="".join(f"{each.looked_up} AND " for each in self.conditions.narrow),
        )
        bounded = f"coalesce((SELECT items >= {most} FROM rarest), false)"
        return found + self._page, f"(SELECT count(*) FROM words) AS text_terms, {bounded} AS text_bounded"

    @property
    def _page(self) -> str:
        return _PAGE.format(
            workspace=self.workspace,
            column=self.order.column,
            filtered=", ".join(f"i.{column}" for column in FILTERED),
            conditions=" AND ".join(self.conditions.plain[1:]),  # the first one says the workspace
            after="" if self.after is None else f"WHERE {self.order.after('m', self.values, self.after)}",
            order=self.order.by("m"),
            rows=self.values.add(self.rows, "bigint"),
            columns=", ".join(f"i.{column}" for column in self.columns),
        )
