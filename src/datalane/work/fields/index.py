"""The values of indexed fields: what the index holds is what the metadata of the items says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.work.fields.definitions import IndexedValue

Place = tuple[UUID, UUID]
"""A field and an item, by their ids."""

_queries = load_queries(__file__)


async def put_values(tx: Transaction, values: Mapping[Place, IndexedValue]) -> None:
    """Set values, in place of those that are there: a field that was indexed before may have left some."""
    if values:
        rows = [{"item_id": item_id} | asdict(value) for (_, item_id), value in values.items()]
        await _queries.put_field_values(tx.connection, workspace_id=tx.workspace_id, rows=rows)


async def drop_values(tx: Transaction, places: Sequence[Place]) -> None:
    if places:
        await _queries.drop_field_values(
            tx.connection,
            workspace_id=tx.workspace_id,
            field_ids=[field_id for field_id, _ in places],
            item_ids=[item_id for _, item_id in places],
        )


async def drop_next(tx: Transaction, field_id: UUID, after: UUID, most: int) -> UUID | None:
    """Drop the values of a field of up to `most` items after the item `after`; the last of them when there may be more.

    After, and not simply some: what is deleted stays in the way of whoever looks from the beginning for a while.
    """
    rows = await _queries.list_indexed(
        tx.connection, workspace_id=tx.workspace_id, field_id=field_id, following=after, most=most
    )
    ids = [row["item_id"] for row in rows]
    await drop_values(tx, [(field_id, item_id) for item_id in ids])
    return ids[-1] if len(ids) == most else None
