"""Prices of models: said once, from a moment that is not past, and never changed. A change is another price.

So whoever asks what was in force at a moment gets the same answer for good: what was spent is not spent anew.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from datalane.agents.permissions import READ_VERSIONS, SET_PRICES
from datalane.agents.versions.schemas import ModelPrice, ModelPricePage, NewModelPrice
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.audit import record
from datalane.errors import Conflict, InvalidInput, NotFound
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7

_queries = load_queries(__file__, "prices.sql")


async def create_price(tx: Transaction, new: NewModelPrice, now: datetime | None = None) -> ModelPrice:
    """What a model costs from `effective_at`, by default from `now`.

    Raises `InvalidInput` for a price that begins before `now`, `NotFound` for a model that is not there, `Conflict`
    when another price of the model begins at the same time.
    """
    SET_PRICES.check(tx.context)
    tx = tx.following()
    at, price_version_id = now or utc_now(), uuid7()
    effective_at = new.effective_at or at
    if effective_at < at:
        message = f"must not be past: a price begins at {at.isoformat()} at the earliest"
        raise InvalidInput(
            f"effective_at {message}", [{"field": "body.effective_at", "message": message, "code": "back_dated"}]
        )
    if not await _queries.has_model(tx.connection, workspace_id=tx.workspace_id, model_version_id=new.model_version_id):
        raise NotFound("no such version of a model")
    said = new.model_copy(update={"effective_at": effective_at})
    done = await _queries.add_price(
        tx.connection,
        workspace_id=tx.workspace_id,
        price_version_id=price_version_id,
        **dict(said),
        now=at,
        actor_id=tx.context.actor_id,
    )
    if done != "INSERT 0 1":
        raise Conflict("another price of the model begins at the same time")
    await record(tx, "agent_price.created", "agent_price", price_version_id, after=said.model_dump(mode="json"))
    return await _read(tx, price_version_id)


async def get_price(tx: Transaction, price_version_id: UUID) -> ModelPrice:
    """Raises `NotFound`."""
    READ_VERSIONS.check(tx.context)
    return await _read(tx, price_version_id)


async def list_prices(
    tx: Transaction, model_version_id: UUID | None = None, cursor: str | None = None, page_size: int = 25
) -> ModelPricePage:
    """Prices, the last said first. Raises `InvalidInput` for a cursor that is not this list's."""
    READ_VERSIONS.check(tx.context)
    listing = f"agent prices:{model_version_id}"
    rows = await _queries.list_prices(
        tx.connection,
        workspace_id=tx.workspace_id,
        model_version_id=model_version_id,
        before=tx.read_id_cursor(listing, cursor),
        page_size=page_size + 1,
    )
    page, following = tx.cut_page(listing, rows, page_size, lambda row: [row["price_version_id"]])
    return ModelPricePage(data=[ModelPrice(**row) for row in page], page_size=page_size, next_cursor=following)


async def _read(tx: Transaction, price_version_id: UUID) -> ModelPrice:
    row = await _queries.get_price(tx.connection, workspace_id=tx.workspace_id, price_version_id=price_version_id)
    if row is None:
        raise NotFound("no such price")
    return ModelPrice(**row)
