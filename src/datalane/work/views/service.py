"""Saving queries of items under names: for oneself, or for everybody in the workspace.

A view is checked when it is saved, and again when it is read: a field that it filters by may have been renamed or
removed since. Such a view is kept and says what is wrong, until somebody mends it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import Conflict, DatalaneError, InvalidInput, LimitExceeded, NotFound
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7
from datalane.kit.jsonlimits import encode_within
from datalane.work.editing import check_seen
from datalane.work.fields.definitions import load_fields
from datalane.work.permissions import KEEP_VIEWS, READ_VIEWS, SHARE_VIEWS, UNSHARE_VIEWS
from datalane.work.query.faults import refused
from datalane.work.query.schemas import ItemQuery
from datalane.work.query.service import check_query
from datalane.work.texts import check_name
from datalane.work.views.checking import find_faults, read_valid, saved
from datalane.work.views.schemas import NewView, View, ViewPage, ViewTarget, ViewUpdate

NAME_CHARACTERS = 100
QUERY_BYTES = 64 * 1024
"""Most bytes of the query of a view, as JSON."""

_queries = load_queries(__file__)


async def list_views(tx: Transaction, cursor: str | None = None, page_size: int = 25) -> ViewPage:
    """One's own views and the shared ones, by name. Raises `InvalidInput` for another list's cursor."""
    READ_VIEWS.check(tx.context)
    after = tx.read_cursor("views", cursor)
    rows = await _queries.list_views(
        tx.connection,
        workspace_id=tx.workspace_id,
        actor_id=tx.context.actor_id,
        after_name=after[0] if after else None,
        after_id=UUID(after[1]) if after else None,
        page_size=page_size + 1,
    )
    page, following = tx.cut_page("views", rows, page_size, lambda row: [row["name"], row["view_id"]])
    return ViewPage(data=await _views(tx, page), page_size=page_size, next_cursor=following)


async def get_view(tx: Transaction, view_id: UUID) -> View:
    """One of one's own views or of the shared ones. Raises `NotFound`."""
    READ_VIEWS.check(tx.context)
    view = await _find(tx, view_id)
    if view is None:
        raise NotFound("no such view")
    return view


async def load_view_query(tx: Transaction, view_id: UUID) -> ItemQuery:
    """What a view asks for, to be asked. Raises `NotFound`, and `InvalidInput` with the errors of an invalid view."""
    view = await get_view(tx, view_id)
    return read_valid(view)


async def create_view(tx: Transaction, new: NewView, *, shared: bool, now: datetime | None = None) -> View:
    """Save a view. Raises `Conflict` for a name in use, `InvalidInput` for a query that cannot be asked now,
    `LimitExceeded` for one view too many."""
    (SHARE_VIEWS if shared else KEEP_VIEWS).check(tx.context)
    tx = tx.following()
    name, query = check_name(new.name, "name", NAME_CHARACTERS), await _checked(tx, new.query)
    names = await _lock(tx, shared)
    if len(names) >= tx.limits.views:
        whose = "the workspace has" if shared else "you have"
        raise LimitExceeded(f"{whose} {len(names):,} views, the limit is {tx.limits.views:,} (limits.views)")
    _check_free(name, None, names)
    view_id = uuid7()
    await (_queries.add_shared if shared else _queries.add_personal)(
        tx.connection,
        workspace_id=tx.workspace_id,
        view_id=view_id,
        actor_id=tx.context.actor_id,
        name=name,
        query=query,
        now=now or utc_now(),
    )
    return await get_view(tx, view_id)


async def update_view(tx: Transaction, update: ViewUpdate, *, shared: bool, now: datetime | None = None) -> View:
    """The view after the change; a change of nothing makes no version.

    Raises `NotFound`, `StaleVersion`, and as `create_view`.
    """
    (SHARE_VIEWS if shared else KEEP_VIEWS).check(tx.context)
    tx = tx.following()
    names = await _lock(tx, shared)
    view = await _find_kind(tx, update.view_id, shared)
    check_seen(update.version, view, "view")
    name, query = await _changed(tx, view, update)
    if name == view.name and _same(query, view.query):
        return view
    _check_free(name, view.view_id, names)
    done = await (_queries.set_shared if shared else _queries.set_personal)(
        tx.connection,
        workspace_id=tx.workspace_id,
        view_id=view.view_id,
        actor_id=tx.context.actor_id,
        name=name,
        query=query,
        version=view.version + 1,
        now=now or utc_now(),
    )
    if done != "UPDATE 1":
        raise DatalaneError(f"a view was locked to be written, and the database says {done}")
    return await get_view(tx, view.view_id)


async def delete_view(tx: Transaction, target: ViewTarget, *, shared: bool) -> View:
    """Take a view away; answers it as it was. Raises `NotFound`, and `StaleVersion` when a version is said."""
    (UNSHARE_VIEWS if shared else KEEP_VIEWS).check(tx.context)
    await _lock(tx, shared)
    view = await _find_kind(tx, target.view_id, shared)
    if target.version is not None:
        check_seen(target.version, view, "view")
    of = {"workspace_id": tx.workspace_id, "view_id": view.view_id}
    if shared:
        done = await _queries.delete_shared(tx.connection, **of)
    else:
        done = await _queries.delete_personal(tx.connection, **of, actor_id=tx.context.actor_id)
    if done != "DELETE 1":
        raise DatalaneError(f"a view was locked to be deleted, and the database says {done}")
    return view


async def _lock(tx: Transaction, shared: bool) -> dict[str, UUID]:
    """The names in use where a view is about to change, which nobody else changes until the transaction ends."""
    owner_id = tx.workspace_id if shared else tx.context.actor_id
    await _queries.lock_views(tx.connection, workspace_id=tx.workspace_id, owner_id=owner_id)
    if shared:
        rows = await _queries.list_shared_names(tx.connection, workspace_id=tx.workspace_id)
    else:
        rows = await _queries.list_personal_names(
            tx.connection, workspace_id=tx.workspace_id, actor_id=tx.context.actor_id
        )
    return {row["name"]: row["view_id"] for row in rows}


def _check_free(name: str, view_id: UUID | None, names: dict[str, UUID]) -> None:
    if names.get(name, view_id) != view_id:
        raise Conflict(f"there is a view {name!r} already; change it, or choose another name")


async def _changed(tx: Transaction, view: View, update: ViewUpdate) -> tuple[str, dict[str, Any]]:
    changes, name, query = update.changes, view.name, view.query
    nulls = sorted(field for field in changes.model_fields_set if getattr(changes, field) is None)
    if nulls:
        message = "cannot be null; leave it out to keep it"
        raise InvalidInput(
            f"{', '.join(nulls)}: {message}",
            [{"field": f"changes.{field}", "message": message, "code": "null"} for field in nulls],
        )
    if changes.name is not None:
        name = check_name(changes.name, "changes.name", NAME_CHARACTERS)
    if changes.query is not None:
        query = await _checked(tx, changes.query, "changes.query")
    return name, query


def _same(query: Any, other: Any) -> bool:
    """Whether they are the same JSON: 1 and true are not, though they are equal."""
    return json.dumps(query, sort_keys=True) == json.dumps(other, sort_keys=True)


async def _checked(tx: Transaction, query: ItemQuery, place: str = "query") -> dict[str, Any]:
    """`query` as it is saved. Raises `InvalidInput` for what cannot be asked now, `LimitExceeded` past a limit."""
    if query.cursor is not None:
        message = "a view begins at its first page; leave the cursor out"
        raise refused([{"field": f"{place}.cursor", "message": message, "code": "cursor"}])
    try:
        check_query(query, await load_fields(tx), tx.limits)
    except InvalidInput as error:
        raise refused([{**fault, "field": f"{place}.{fault['field']}"} for fault in error.errors]) from error
    kept = saved(query)
    encode_within(kept, "the query of the view", QUERY_BYTES, tx.limits.metadata_depth)
    return kept


async def _find(tx: Transaction, view_id: UUID) -> View | None:
    row = await _queries.get_view(
        tx.connection, workspace_id=tx.workspace_id, actor_id=tx.context.actor_id, view_id=view_id
    )
    return (await _views(tx, [row]))[0] if row is not None else None


async def _find_kind(tx: Transaction, view_id: UUID, shared: bool) -> View:
    view = await _find(tx, view_id)
    if view is None or view.shared != shared:
        raise NotFound("no such shared view" if shared else "no such view of your own")
    return view


async def _views(tx: Transaction, rows: Sequence[Any]) -> list[View]:
    """Rows as callers see them, each with what is wrong with it now."""
    if not rows:
        return []
    fields = await load_fields(tx)
    faults = [find_faults(row["query"], fields, tx.limits) for row in rows]
    return [View(**row, valid=not found, errors=found) for row, found in zip(rows, faults, strict=True)]
