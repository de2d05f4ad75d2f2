"""What tests do with the fields of a desk; every function is a transaction of its own."""

from __future__ import annotations

from typing import Any

from tests.integration.engine.lab import eventually
from tests.integration.engine.workers import working
from tests.integration.work.conftest import Desk

from datalane.engine.handlers import Handlers
from datalane.engine.jobs import list_jobs
from datalane.work.fields import handlers, service
from datalane.work.fields.schemas import FieldChanges, FieldOfItems, FieldRename, FieldTarget, FieldUpdate, NewField

BLOCKED = """
SELECT count(*) FROM pg_locks
WHERE locktype = 'advisory' AND NOT granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


async def define(desk: Desk, key: str, type: Any = "text", **said: Any) -> FieldOfItems:
    async with desk.database.transaction(desk.context) as tx:
        return await service.define_field(tx, NewField(key=key, type=type, **said))


async def change(desk: Desk, field: FieldOfItems, **changes: Any) -> FieldOfItems:
    update = FieldUpdate(field_id=field.field_id, version=field.version, changes=FieldChanges(**changes))
    async with desk.database.transaction(desk.context) as tx:
        return await service.change_field(tx, update)


async def rename(desk: Desk, key: str, new_key: str) -> FieldOfItems:
    async with desk.database.transaction(desk.context) as tx:
        return await service.rename_field(tx, FieldRename(key=key, new_key=new_key))


async def remove(desk: Desk, key: str) -> FieldOfItems:
    async with desk.database.transaction(desk.context) as tx:
        return await service.remove_field(tx, FieldTarget(key=key))


async def fields_of(desk: Desk) -> dict[str, FieldOfItems]:
    async with desk.database.transaction(desk.context) as tx:
        return {field.key: field for field in (await service.list_fields(tx)).data}


async def indexed(desk: Desk, field: FieldOfItems) -> list[Any]:
    """What items are found by in a field, by value."""
    rows = await desk.rows(
        "SELECT coalesce(to_jsonb(text_value), to_jsonb(number_value), to_jsonb(date_value)) FROM datalane.item_fields "
        "WHERE field_id = $1 ORDER BY number_value, text_value, date_value",
        field.field_id,
    )
    return [value for (value,) in rows]


async def work_off(desk: Desk) -> None:
    """A worker does what the fields have left to do."""
    known = Handlers()
    handlers.register(known)

    async def is_done() -> bool:
        async with desk.database.transaction(desk.context) as tx:
            return await list_jobs(tx) == []

    async with working(desk.database, known):
        assert await eventually(is_done)


async def somebody_waits(desk: Desk, most: int = 1) -> bool:
    """Until somebody waits for the fields of the workspace."""

    async def is_blocked() -> bool:
        return bool(await desk.rows(BLOCKED) >= [(most,)])

    return bool(await eventually(is_blocked))
