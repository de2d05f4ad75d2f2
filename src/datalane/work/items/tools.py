"""What agents may do with items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from datalane.contracts.storable import Text
from datalane.engine.tools import Call, Tool, Tools
from datalane.work.items.schemas import NewItem
from datalane.work.items.service import create_item
from datalane.work.permissions import CREATE_ITEMS


class ItemToCreate(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: Annotated[Text, Field(min_length=1, max_length=500)]
    description: Annotated[Text, Field(max_length=10_000)] = ""


class CreatedItem(BaseModel):
    item_id: UUID
    title: str


async def _create(wanted: ItemToCreate, call: Call) -> Mapping[str, Any]:
    async with call.transaction() as tx:
        item = await create_item(tx, NewItem(title=wanted.title, description=wanted.description))
        made = CreatedItem(item_id=item.item_id, title=item.title).model_dump(mode="json")
        call.result = made
    return made


def register_tools(tools: Tools) -> None:
    """Add them. What they make is the doing of whoever asked for the run."""
    description = "Makes an item, a piece of work with a title. For what somebody asks to be noted or reminded of."
    tools.add(Tool("item.create", description, ItemToCreate, CreatedItem, "write", CREATE_ITEMS, _create))
