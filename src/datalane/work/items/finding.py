"""What items are found by, kept in step with them: tags, values of indexed fields, words.

The edits of a request are written together; what stays the same is not touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.search.index import Collection, add_entries, remove_entries
from datalane.engine.search.language import hold_search_language
from datalane.work.changes import same
from datalane.work.editing import Edit
from datalane.work.fields.definitions import Fields, IndexedValue
from datalane.work.fields.index import Place, drop_values, put_values
from datalane.work.items.schemas import Item

_queries = load_queries(__file__)


async def reindex(tx: Transaction, edits: Sequence[Edit[Item]], fields: Fields) -> None:
    """Make what items are found by what their new states say."""
    await _set_tags(tx, edits)
    await _set_fields(tx, edits, fields)
    await _set_words(tx, edits)


def searched_text(item: Item) -> str:
    """What the words of a text filter are looked for in."""
    return f"{item.title}\n{item.description}"


async def _set_tags(tx: Transaction, edits: Sequence[Edit[Item]]) -> None:
    gone, come = list[tuple[UUID, str]](), list[tuple[UUID, str]]()
    for edit in edits:
        old, new = set(edit.before.tags if edit.before else ()), set(edit.after.tags)
        gone += [(edit.after.item_id, tag) for tag in old - new]
        come += [(edit.after.item_id, tag) for tag in new - old]
    for change, pairs in ((_queries.drop_tags, gone), (_queries.add_tags, come)):
        if pairs:
            await change(
                tx.connection,
                workspace_id=tx.workspace_id,
                item_ids=[item_id for item_id, _ in pairs],
                tags=[tag for _, tag in pairs],
            )


async def _set_fields(tx: Transaction, edits: Sequence[Edit[Item]], fields: Fields) -> None:
    gone, come = list[Place](), dict[Place, IndexedValue]()
    for edit in edits:
        if edit.before is not None and same(edit.before.metadata, edit.after.metadata):
            continue
        item_id = edit.after.item_id
        old, new = _indexed(edit.before, fields), _indexed(edit.after, fields)
        gone += [(field_id, item_id) for field_id in old.keys() - new.keys()]
        come |= {(field_id, item_id): value for field_id, value in new.items() if old.get(field_id) != value}
    await drop_values(tx, gone)
    await put_values(tx, come)


def _indexed(item: Item | None, fields: Fields) -> dict[UUID, IndexedValue]:
    return {} if item is None else fields.indexed(item.metadata)


async def _set_words(tx: Transaction, edits: Sequence[Edit[Item]]) -> None:
    changed = [edit for edit in edits if edit.before is None or searched_text(edit.before) != searched_text(edit.after)]
    if not changed:
        return
    await remove_entries(tx, Collection.ITEMS, [edit.after.item_id for edit in changed if edit.before is not None])
    await add_entries(
        tx,
        Collection.ITEMS,
        [edit.after.item_id for edit in changed],
        [searched_text(edit.after) for edit in changed],
        await hold_search_language(tx),
    )
