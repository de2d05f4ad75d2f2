"""What a workspace's items are like: values for the shapes of a query to look for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import NotFound
from datalane.work.fields.definitions import Fields
from datalane.work.query.shapes import Samples

MOST = 200
_NOBODY = UUID("00000000-0000-7000-8000-000000000001")
_TAGS = ("no-such-tag", "nor-this-one")
_WORDS = ("nothing", "nowhere")

_queries = load_queries(__file__, "explain.sql")

Row = Mapping[str, Any]


async def read_items(tx: Transaction, most: int = MOST) -> list[Row]:
    """Up to so many items from all over the workspace. Raises `NotFound` for a workspace without any."""
    rows: list[Row] = await _queries.sample_items(tx.connection, workspace_id=tx.workspace_id, most=most)
    if not rows:
        raise NotFound(
            f"the workspace {tx.workspace_id} has no items, so there is nothing to look for; name another one, or fill "
            "a lane with `datalane seed work`"
        )
    return rows


def typical(rows: Sequence[Row], fields: Fields) -> Samples:
    """Values that are often met, and tags from the commonest to the rarest. What nobody uses is looked for in vain."""
    by_count = [tag for tag, _ in Counter(tag for row in rows for tag in row["tags"]).most_common()]
    tags = (by_count[0], by_count[1], by_count[-1]) if len(by_count) > 2 else (*by_count, *_TAGS)[:2]
    return _samples(rows[len(rows) // 2], rows, tags, fields)


def of_item(number: int, rows: Sequence[Row], fields: Fields) -> Samples:
    """Values of one of the items, so that other numbers look for other things. The rest is from its neighbours."""
    turned = [*rows[number % len(rows) :], *rows[: number % len(rows)]]
    tags = list(dict.fromkeys(tag for row in turned for tag in row["tags"]))
    return _samples(turned[0], turned, (*tags[:3], *_TAGS)[: max(2, min(3, len(tags)))], fields)


def _samples(middle: Row, rows: Sequence[Row], tags: Sequence[str], fields: Fields) -> Samples:
    return Samples(
        project_id=_commonest(rows, "project_id"),
        assignee_id=_commonest(rows, "assignee_id"),
        created_by=middle["created_by_actor_id"],
        since=middle["created_at"],
        tags=tuple(tags),
        words=_words(middle),
        fields=_values(rows, fields),
    )


def _commonest(rows: Sequence[Row], column: str) -> UUID:
    """The first of the rows' most frequent values."""
    counted = Counter(row[column] for row in rows if row[column] is not None)
    return UUID(str(counted.most_common(1)[0][0])) if counted else _NOBODY


def _words(row: Row) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(row["title"].split()))[:2]
    return (*words, *_WORDS)[:2]


def _values(rows: Sequence[Row], fields: Fields) -> dict[str, tuple[str, Any]]:
    """For each type of field an indexed one that is in use, with a value of it."""
    found: dict[str, tuple[str, Any]] = {}
    for key, definition in sorted(fields.by_key.items()):
        if not definition.is_ready or definition.type in found:
            continue
        for row in rows:
            try:
                definition.check(row["metadata"][key])
            except (KeyError, ValueError):
                continue
            found[definition.type] = (key, row["metadata"][key])
            break
    return found
