"""Building the index of a field over the items that are there, and taking one down, in batches by jobs.

Whoever writes an item puts the values of indexed fields into the index from the moment that a field is `building`, so
a building only goes through the items that were there then, up to the last of them. Each batch is one transaction,
with the next one enqueued in it; a batch that is done again does nothing new.

A building has an id. A job of one that has ended, because the field was switched off or removed, finds another id or
none and stops: a field that is switched on again has a building of its own, which also clears what was left.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.jobs import enqueue
from datalane.kit.ids import uuid7
from datalane.work.fields.definitions import FieldDefinition, Fields, IndexedValue, hold_fields
from datalane.work.fields.index import Place, drop_next, drop_values, put_values

INDEX_FIELD = "work.index_field"
DROP_INDEX = "work.drop_index"
BATCH = 1_000
"""Items that a job goes through, and values that it drops, in one transaction."""

_BEFORE_ALL = UUID(int=0)

_queries = load_queries(__file__)


async def begin_building(tx: Transaction, field_id: UUID) -> tuple[str, UUID | None]:
    """The state of the index of a field that is to be indexed, and its building; without items there is none.

    The fields must be locked: then all items that are written without this index are there to be seen.
    """
    last = await _queries.get_last_item(tx.connection, workspace_id=tx.workspace_id)
    if last is None:
        return "ready", None
    build = uuid7()
    await _enqueue_batch(tx, field_id, build, _BEFORE_ALL, last)
    return "building", build


async def drop_index(tx: Transaction, field_id: UUID, after: UUID = _BEFORE_ALL) -> None:
    """Drop the values of a field that is not indexed any more, after an item: a batch here, the rest by jobs."""
    last = await drop_next(tx, field_id, after, BATCH)
    if last is not None:
        args = {"field_id": str(field_id), "after": str(last)}
        await enqueue(tx, DROP_INDEX, args, subject_id=str(field_id))


async def index_batch(tx: Transaction, args: dict[str, Any]) -> None:
    """Bring the index of a field in step with the next items, and enqueue the rest or make the field `ready`."""
    field_id, build = UUID(args["field_id"]), UUID(args["build"])
    after, until = UUID(args["after"]), UUID(args["until"])
    fields = await hold_fields(tx)
    if await _queries.get_build(tx.connection, workspace_id=tx.workspace_id, field_id=field_id) != build:
        return
    end = await _queries.get_end(tx.connection, workspace_id=tx.workspace_id, following=after, until=until, most=BATCH)
    end = end or until
    await _index_range(tx, fields, field_id, after, end)
    if end < until:
        await _enqueue_batch(tx, field_id, build, end, until)
        return
    await _queries.set_index(
        tx.connection, workspace_id=tx.workspace_id, field_id=field_id, index_state="ready", index_build=None
    )


async def drop_batch(tx: Transaction, args: dict[str, Any]) -> None:
    """Drop the next values of a field, unless it is indexed again."""
    field_id = UUID(args["field_id"])
    fields = await hold_fields(tx)
    definition = _by_id(fields, field_id)
    if definition is None or not definition.indexed:
        await drop_index(tx, field_id, UUID(args["after"]))


async def _index_range(tx: Transaction, fields: Fields, field_id: UUID, after: UUID, until: UUID) -> None:
    definition = _by_id(fields, field_id)
    assert definition is not None
    old_keys = [key for key, each in fields.renamed.items() if each.field_id == field_id]
    rows = await _queries.lock_values(
        tx.connection,
        workspace_id=tx.workspace_id,
        field_id=field_id,
        keys=[definition.key, *old_keys],
        following=after,
        until=until,
    )
    come, gone = dict[Place, IndexedValue](), list[Place]()
    for row in rows:
        value = fields.indexed(fields.current(row["found"] or {})).get(field_id)
        if value is None:
            gone.append((field_id, row["item_id"]))
        else:
            come[field_id, row["item_id"]] = value
    await drop_values(tx, gone)
    await put_values(tx, come)


async def _enqueue_batch(tx: Transaction, field_id: UUID, build: UUID, after: UUID, until: UUID) -> None:
    args = {"field_id": field_id, "build": build, "after": after, "until": until}
    await enqueue(
        tx,
        INDEX_FIELD,
        {name: str(value) for name, value in args.items()},
        subject_id=str(field_id),
        idempotency_key=f"{INDEX_FIELD}/{build}/{after}",
    )


def _by_id(fields: Fields, field_id: UUID) -> FieldDefinition | None:
    return next((each for each in fields.by_key.values() if each.field_id == field_id), None)
