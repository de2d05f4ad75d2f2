"""What rules may do with items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datalane.db.transaction import Transaction
from datalane.engine.actions import Action, ActionCall, Actions
from datalane.work.items.schemas import Item, ItemTransition, NewItem
from datalane.work.items.service import create_item, hold_item, transition_item
from datalane.work.permissions import CHANGE_ITEMS, CREATE_ITEMS


async def _create(tx: Transaction, new: NewItem, call: ActionCall) -> Mapping[str, Any]:
    return _told(await create_item(tx, new))


async def _transition(tx: Transaction, transition: ItemTransition, call: ActionCall) -> Mapping[str, Any]:
    """Without a version it moves the item as it is now: a rule has seen an event, and no item."""
    if transition.version is None:
        held = await hold_item(tx, transition.item_id)
        transition = transition.model_copy(update={"version": held.version})
    return _told(await transition_item(tx, transition))


def _told(item: Item) -> Mapping[str, Any]:
    return {"item_id": str(item.item_id), "version": item.version, "status": item.status}


def register_actions(actions: Actions) -> None:
    """Add them. What they make and change is the doing of the event's actor."""
    actions.add(Action("item.create", "Makes an item.", NewItem, CREATE_ITEMS, _create))
    actions.add(
        Action("item.transition", "Moves an item through its lifecycle.", ItemTransition, CHANGE_ITEMS, _transition)
    )
