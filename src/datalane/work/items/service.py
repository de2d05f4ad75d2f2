"""Creating, reading and changing items, one or many at once.

    lock the rows ─> decide (`edits`, `editing`: functions of values) ─> write rows, what they are found by, the journal

Everything is done for all rows together, so that a batch of a thousand costs a dozen statements. In a batch each row
has its own outcome; the rows that are refused change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import DatalaneError, LimitExceeded, NotFound
from datalane.kit.clock import utc_now
from datalane.work.changes import differences
from datalane.work.editing import Ask, Edit, content, decide_all, find_stale
from datalane.work.fields.definitions import Fields, hold_fields, load_fields
from datalane.work.items.edits import Rules, ask_delete, ask_restore, ask_transition, ask_update, new_item
from datalane.work.items.finding import reindex
from datalane.work.items.schemas import Item, ItemTarget, ItemTransition, ItemUpdate, NewItem
from datalane.work.journal import Mutation, write_journal
from datalane.work.permissions import CHANGE_ITEMS, CREATE_ITEMS, READ_ITEMS
from datalane.work.timeline.service import list_changed_fields

Outcome = Item | DatalaneError

_queries = load_queries(__file__)
_members = itemgetter(*Item.model_fields)


async def get_item(tx: Transaction, item_id: UUID, *, deleted: bool = False) -> Item:
    """Raises `NotFound`; a deleted item is found with `deleted` only."""
    READ_ITEMS.check(tx.context)
    row = await _queries.get_item(tx.connection, workspace_id=tx.workspace_id, item_id=item_id)
    if row is None or (row["deleted_at"] is not None) != deleted:
        raise NotFound("no such item")
    return read_item(row, await load_fields(tx))


async def hold_item(tx: Transaction, item_id: UUID) -> Item:
    """An item that nobody else changes until the transaction ends. Raises `NotFound`, also for a deleted one."""
    CHANGE_ITEMS.check(tx.context)
    fields = await hold_fields(tx)
    rows = await _queries.lock_items(tx.connection, workspace_id=tx.workspace_id, item_ids=[item_id])
    held = [read_item(row, fields) for row in rows if row["deleted_at"] is None]
    if not held:
        raise NotFound("no such item")
    return held[0]


async def create_items(tx: Transaction, new: Sequence[NewItem], now: datetime | None = None) -> list[Outcome]:
    """New items, each with its outcome, in order. Raises `LimitExceeded` for a batch that is too large."""
    CREATE_ITEMS.check(tx.context)
    _check_batch(tx, new)
    rules = await _rules(tx, await hold_fields(tx), now, new)
    return await _write(tx, [_create(each, rules) for each in new], rules)


async def update_items(tx: Transaction, updates: Sequence[ItemUpdate], now: datetime | None = None) -> list[Outcome]:
    """The items as they are after the edits, each with its outcome, in order; an edit of nothing leaves no trace.

    Outcomes are `NotFound`, `StaleVersion`, `InvalidInput` and whatever else a single edit raises.
    """
    changes = [update.changes for update in updates]
    return await _change(tx, [u.item_id for u in updates], changes, now, lambda r: [ask_update(u, r) for u in updates])


async def transition_items(
    tx: Transaction, transitions: Sequence[ItemTransition], now: datetime | None = None
) -> list[Outcome]:
    """Move items through their lifecycle. Outcomes as `update_items`, and `IllegalTransition` naming the states."""
    ids = [each.item_id for each in transitions]
    return await _change(tx, ids, (), now, lambda rules: [ask_transition(each, rules) for each in transitions])


async def create_item(tx: Transaction, new: NewItem, now: datetime | None = None) -> Item:
    """Raises the outcomes of `create_items`."""
    return _only(await create_items(tx, [new], now))


async def update_item(tx: Transaction, update: ItemUpdate, now: datetime | None = None) -> Item:
    """Raises the outcomes of `update_items`."""
    return _only(await update_items(tx, [update], now))


async def transition_item(tx: Transaction, transition: ItemTransition, now: datetime | None = None) -> Item:
    """Raises the outcomes of `transition_items`."""
    return _only(await transition_items(tx, [transition], now))


async def delete_item(tx: Transaction, target: ItemTarget, now: datetime | None = None) -> Item:
    """Take an item out of sight until it is restored. Raises as the outcomes of `update_items`."""
    item_id, version = target.item_id, target.version
    return _only(await _change(tx, [item_id], (), now, lambda rules: [ask_delete(item_id, version, rules)]))


async def restore_item(tx: Transaction, target: ItemTarget, now: datetime | None = None) -> Item:
    """The item as it was, with a new version. Raises as `delete_item`, and `InvalidInput` when its project is gone."""
    item_id, version = target.item_id, target.version
    return _only(await _change(tx, [item_id], (), now, lambda rules: [ask_restore(item_id, version, rules)]))


def read_item(row: Any, fields: Fields) -> Item:
    """A row of the table as callers see it, with its metadata under the keys of now."""
    return Item(**plain_item(row, fields))


def plain_item(row: Any, fields: Fields) -> dict[str, Any]:
    """The members of `read_item`'s item by name: the row was checked when it was written."""
    item = dict(zip(Item.model_fields, _members(row), strict=True))
    item["metadata"] = fields.current(item["metadata"])
    return item


async def _change(
    tx: Transaction,
    ids: Sequence[UUID],
    referring: Iterable[Any],
    now: datetime | None,
    make_asks: Callable[[Rules], list[Ask[Item]]],
) -> list[Outcome]:
    CHANGE_ITEMS.check(tx.context)
    _check_batch(tx, ids)
    fields = await hold_fields(tx)
    rows = await _queries.lock_items(tx.connection, workspace_id=tx.workspace_id, item_ids=ids)
    current = {row["item_id"]: read_item(row, fields) for row in rows}
    deleted = [item for item in current.values() if item.deleted_at is not None]
    rules = await _rules(tx, fields, now, [*referring, *deleted])
    asks = make_asks(rules)
    told = await list_changed_fields(tx, "item", find_stale(asks, current))
    changed = {item_id: [fields.current_name(name) for name in names] for item_id, names in told.items()}
    return await _write(tx, decide_all(asks, current, changed, "item"), rules)


async def _write(tx: Transaction, outcomes: Sequence[Edit[Item] | Outcome], rules: Rules) -> list[Outcome]:
    """Write the edits among the outcomes; answers the items in their place."""
    edits = {
        place: Edit(each.before, _numbered(each, rules), each.action)
        for place, each in enumerate(outcomes)
        if isinstance(each, Edit)
    }
    await _store(tx, list(edits.values()))
    await reindex(tx, list(edits.values()), rules.fields)
    await write_journal(tx, [_mutation(edit, rules.fields) for edit in edits.values()], rules.now)
    return [edits[place].after if isinstance(each, Edit) else each for place, each in enumerate(outcomes)]


def _numbered(edit: Edit[Item], rules: Rules) -> Item:
    if edit.before is None:
        return edit.after
    marks = {"version": edit.before.version + 1, "updated_at": rules.now, "updated_by_actor_id": rules.actor_id}
    return edit.after.model_copy(update=marks)


async def _store(tx: Transaction, edits: Sequence[Edit[Item]]) -> None:
    new = [edit.after.model_dump() for edit in edits if edit.before is None]
    old = [edit.after.model_dump() for edit in edits if edit.before is not None]
    if new:
        await _queries.add_items(tx.connection, workspace_id=tx.workspace_id, rows=new)
    if old:
        done = await _queries.set_items(tx.connection, workspace_id=tx.workspace_id, rows=old)
        if done != f"UPDATE {len(old)}":
            raise DatalaneError(f"{len(old)} items were locked to be written, and the database says {done}")


def _mutation(edit: Edit[Item], fields: Fields) -> Mutation:
    item = edit.after
    if edit.before is None:
        project = {"project_id": None if item.project_id is None else str(item.project_id)}
        return Mutation("item", item.item_id, item.version, edit.action, said=project)
    changes = differences(content(edit.before), content(item), fields.is_sensitive)
    step = {"from": edit.before.status, "to": item.status} if edit.action == "transitioned" else {}
    return Mutation("item", item.item_id, item.version, edit.action, changes, step)


async def _rules(tx: Transaction, fields: Fields, now: datetime | None, referring: Iterable[Any]) -> Rules:
    """`referring` name the projects and members that the items of the request are to belong to."""
    named = list(referring)
    projects = {each.project_id for each in named if each.project_id is not None}
    members = {each.assignee_id for each in named if each.assignee_id is not None}
    locked = projects and await _queries.lock_projects(
        tx.connection, workspace_id=tx.workspace_id, project_ids=list(projects)
    )
    found = members and await _queries.find_members(tx.connection, workspace_id=tx.workspace_id, user_ids=list(members))
    return Rules(
        tx.limits,
        fields,
        tx.context.actor_id,
        now or utc_now(),
        {row["project_id"]: row["status"] for row in locked},
        frozenset(row["user_id"] for row in found),
    )


def _only(outcomes: Sequence[Outcome]) -> Item:
    """The item of a batch of one; raises its error."""
    (outcome,) = outcomes
    if isinstance(outcome, DatalaneError):
        raise outcome
    return outcome


def _check_batch(tx: Transaction, rows: Sequence[Any]) -> None:
    if len(rows) > tx.limits.batch:
        raise LimitExceeded(f"{len(rows):,} items in one batch, the limit is {tx.limits.batch:,} (limits.batch)")


def _create(new: NewItem, rules: Rules) -> Edit[Item] | DatalaneError:
    try:
        return Edit(None, new_item(new, rules), "created")
    except DatalaneError as error:
        return error
