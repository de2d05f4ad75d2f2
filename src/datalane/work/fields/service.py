"""Defining, changing, renaming and removing fields.

Whoever changes a field waits for those who write items, and holds off others, until the end of the transaction:

    writers of items    hold_fields   shared lock      many at once, with the fields as they stay
    changes of fields   lock_fields   exclusive lock   one at a time, with nobody writing

So every item that is there when a change commits was written by the fields before it, and every later one by the
fields after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.audit import record
from datalane.errors import Conflict, DatalaneError, InvalidInput, LimitExceeded, NotFound
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7
from datalane.work.editing import check_seen
from datalane.work.fields.building import begin_building, drop_index
from datalane.work.fields.schemas import (
    FieldChanges,
    FieldList,
    FieldOfItems,
    FieldRename,
    FieldTarget,
    FieldUpdate,
    NewField,
)
from datalane.work.permissions import DEFINE_FIELDS, READ_FIELDS

OLD_KEYS = 20
"""Most old keys of one field: who writes an item loads them all."""

_queries = load_queries(__file__)


async def list_fields(tx: Transaction) -> FieldList:
    """All fields of the workspace."""
    READ_FIELDS.check(tx.context)
    return FieldList(data=await _list(tx))


async def define_field(tx: Transaction, new: NewField, now: datetime | None = None) -> FieldOfItems:
    """A new field. Values that items have under its key already are its values, and those of another type stay.

    Raises `Conflict` for a key that a field has or had, `LimitExceeded` for one field too many.
    """
    tx, fields = await _begin(tx)
    _check_free(new.key, fields)
    if len(fields) >= tx.limits.fields:
        raise LimitExceeded(f"the workspace has {len(fields)} fields, the limit is {tx.limits.fields} (limits.fields)")
    field_id = uuid7()
    state, build = await begin_building(tx, field_id) if new.indexed else ("none", None)
    await _queries.add_field(
        tx.connection,
        workspace_id=tx.workspace_id,
        field_id=field_id,
        key=new.key,
        type=new.type,
        required=new.required,
        sensitive=new.sensitive,
        index_state=state,
        index_build=build,
        now=now or utc_now(),
        actor_id=tx.context.actor_id,
    )
    return await _recorded(tx, "field.defined", field_id, None)


async def change_field(tx: Transaction, update: FieldUpdate, now: datetime | None = None) -> FieldOfItems:
    """Change what is asked of a field's values; a change of nothing leaves no trace. Stored items stay as they are.

    Raises `NotFound`, `StaleVersion`, `InvalidInput` without a version.
    """
    tx, fields = await _begin(tx)
    field = _find(update, fields)
    check_seen(update.version, field, "field")
    after = field.model_copy(update=_given(update.changes))
    if after == field:
        return field
    if after.indexed and not field.indexed:
        state, build = await begin_building(tx, field.field_id)
        await _set_index(tx, field.field_id, state, build)
    elif field.indexed and not after.indexed:
        await _set_index(tx, field.field_id, "none", None)
        await drop_index(tx, field.field_id)
    await _store(tx, after, now)
    return await _recorded(tx, "field.changed", field.field_id, field)


async def rename_field(tx: Transaction, rename: FieldRename, now: datetime | None = None) -> FieldOfItems:
    """Give a field another key. Items are not touched: their values are shown under the new key from now on.

    Raises as `change_field` when a version is said, and `Conflict` for a key that another field has or had, or that
    items use for something that is no field.
    """
    tx, fields = await _begin(tx)
    field = _find(rename, fields)
    if rename.version is not None:
        check_seen(rename.version, field, "field")
    if rename.new_key == field.key:
        return field
    if rename.new_key in field.old_keys:
        await _queries.delete_alias(tx.connection, workspace_id=tx.workspace_id, key=rename.new_key)
    else:
        await _check_unused(tx, rename.new_key, field, fields)
    await _queries.add_alias(tx.connection, workspace_id=tx.workspace_id, key=field.key, field_id=field.field_id)
    await _store(tx, field.model_copy(update={"key": rename.new_key}), now)
    return await _recorded(tx, "field.renamed", field.field_id, field)


async def remove_field(tx: Transaction, target: FieldTarget) -> FieldOfItems:
    """Take a field away; answers it as it was. What items have under its key is free metadata from now on.

    Raises as `change_field` when a version is said.
    """
    tx, fields = await _begin(tx)
    field = _find(target, fields)
    if target.version is not None:
        check_seen(target.version, field, "field")
    done = await _queries.delete_field(tx.connection, workspace_id=tx.workspace_id, field_id=field.field_id)
    if done != "DELETE 1":
        raise DatalaneError(f"a field was locked to be removed, and the database says {done}")
    if field.indexed:
        await drop_index(tx, field.field_id)
    await record(tx, "field.removed", "field", field.field_id, before=_told(field))
    return field


async def _begin(tx: Transaction) -> tuple[Transaction, list[FieldOfItems]]:
    """What follows, and the fields as they are, which nobody else changes or writes by until the transaction ends."""
    DEFINE_FIELDS.check(tx.context)
    await _queries.lock_fields(tx.connection, workspace_id=tx.workspace_id)
    return tx.following(), await _list(tx)


async def _list(tx: Transaction) -> list[FieldOfItems]:
    rows = await _queries.list_fields(tx.connection, workspace_id=tx.workspace_id)
    return [FieldOfItems(**row) for row in rows]


def _find(target: FieldTarget, fields: Sequence[FieldOfItems]) -> FieldOfItems:
    for field in fields:
        if field.field_id == target.field_id or field.key == target.key:
            return field
    _check_not_renamed(target.key, fields)
    raise NotFound("no such field")


def _check_not_renamed(key: str | None, fields: Iterable[FieldOfItems]) -> None:
    for field in fields:
        if key in field.old_keys:
            raise Conflict(f"{key} is an old key of the field {field.key}; say its id or the key that it has now")


def _check_free(key: str, fields: Iterable[FieldOfItems]) -> None:
    for field in fields:
        if key == field.key:
            raise Conflict(f"there is a field {key} already; change it, or choose another key")
        if key in field.old_keys:
            raise Conflict(
                f"{key} is an old key of the field {field.key}, under which items may still have its values; "
                f"choose another key, or remove {field.key}"
            )


async def _check_unused(tx: Transaction, key: str, field: FieldOfItems, fields: Iterable[FieldOfItems]) -> None:
    _check_free(key, fields)
    if len(field.old_keys) >= OLD_KEYS:
        raise LimitExceeded(f"the field had {OLD_KEYS} other keys, which is the most; give it one of them, or keep it")
    if await _queries.has_metadata(tx.connection, workspace_id=tx.workspace_id, key=key):
        raise Conflict(
            f"items have free metadata under {key}, which would be mistaken for values of {field.key}; "
            "take it out of them, or choose another key"
        )


def _given(changes: FieldChanges) -> dict[str, bool]:
    given = {name: getattr(changes, name) for name in sorted(changes.model_fields_set)}
    nulls = [name for name, value in given.items() if value is None]
    if nulls:
        message = "cannot be null; leave it out to keep it"
        raise InvalidInput(
            f"{', '.join(nulls)}: {message}",
            [{"field": f"changes.{name}", "message": message, "code": "null"} for name in nulls],
        )
    return given


async def _store(tx: Transaction, after: FieldOfItems, now: datetime | None) -> None:
    done = await _queries.set_field(
        tx.connection,
        workspace_id=tx.workspace_id,
        field_id=after.field_id,
        key=after.key,
        required=after.required,
        sensitive=after.sensitive,
        version=after.version + 1,
        now=now or utc_now(),
        actor_id=tx.context.actor_id,
    )
    if done != "UPDATE 1":
        raise DatalaneError(f"a field was locked to be written, and the database says {done}")


async def _set_index(tx: Transaction, field_id: UUID, state: str, build: UUID | None) -> None:
    await _queries.set_index(
        tx.connection, workspace_id=tx.workspace_id, field_id=field_id, index_state=state, index_build=build
    )


async def _recorded(tx: Transaction, action: str, field_id: UUID, before: FieldOfItems | None) -> FieldOfItems:
    (after,) = [field for field in await _list(tx) if field.field_id == field_id]
    await record(tx, action, "field", field_id, before=before and _told(before), after=_told(after))
    return after


def _told(field: FieldOfItems) -> dict[str, Any]:
    return field.model_dump(mode="json", include={"key", "type", "required", "indexed", "sensitive"})
