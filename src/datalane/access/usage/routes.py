"""Routes of usage."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from datalane.access.permissions import READ_USAGE, USE_QUOTAS
from datalane.access.usage import service
from datalane.access.usage.answering import may
from datalane.access.usage.schemas import (
    Answer,
    CounterList,
    LedgerPage,
    NewReservation,
    NewUse,
    Released,
    ReservationEnd,
    ReservationTarget,
    Use,
)
from datalane.contracts.context import Context
from datalane.contracts.http import Door
from datalane.db.transaction import Transaction

Key = Annotated[str, Query(pattern=r"^[a-z][a-z0-9_.-]{0,63}$")]


def router(door: Door) -> APIRouter:
    """A use that is refused is committed, so that it is told of: what counts once is said by its own key."""
    routes = door.router(prefix="/usage", tags=["usage"])

    @routes.post("/consume")
    async def consume(body: NewUse, context: Context = door.caller(USE_QUOTAS)) -> Use:
        """Use units of a quota, counted once by the key; 429 where the limit is reached."""
        async with door.transaction(context) as tx:
            used = await service.use(tx, body.quota_key, body.units, idempotency_key=body.idempotency_key)
        return service.admitted(used, body.units)

    @routes.post("/reserve")
    async def reserve(body: NewReservation, context: Context = door.caller(USE_QUOTAS)) -> Use:
        """Set units aside for work whose size is not known; 429 where there is no room for them."""
        lasts = timedelta(seconds=body.seconds)
        async with door.transaction(context) as tx:
            used = await service.reserve(
                tx, body.quota_key, body.units, idempotency_key=body.idempotency_key, lasts=lasts
            )
        return service.admitted(used, body.units)

    @routes.post("/commit")
    async def commit(body: ReservationEnd, context: Context = door.caller(USE_QUOTAS)) -> Use:
        """Say what the work took; 429 where more than was set aside finds no room."""
        async with door.transaction(context) as tx:
            used = await service.commit(tx, body.quota_key, body.units, idempotency_key=body.idempotency_key)
        return service.admitted(used, body.units)

    @routes.post("/release")
    async def release(body: ReservationTarget, tx: Transaction = door.writer(USE_QUOTAS)) -> Released:
        """Give back what was set aside."""
        released = await service.release(tx, body.quota_key, idempotency_key=body.idempotency_key)
        return Released(released=released)

    @routes.get("/counters/list")
    async def list_counters(tx: Transaction = door.reader(READ_USAGE)) -> CounterList:
        """The quotas of the plan, with what is used of them."""
        return await service.list_counters(tx)

    @routes.get("/ledger/list")
    async def list_ledger(
        quota_key: Key,
        page_size: int = Query(25, ge=1, le=100),
        cursor: str | None = None,
        tx: Transaction = door.reader(READ_USAGE),
    ) -> LedgerPage:
        """Uses and corrections of a quota, the newest first."""
        return await service.list_ledger(tx, quota_key, cursor, page_size)

    return routes


def add_answer_routes(routes: APIRouter, door: Door) -> None:
    @routes.get("/may")
    async def ask(
        key: Key, units: int = Query(1, ge=1, le=10**15), tx: Transaction = door.reader(READ_USAGE)
    ) -> Answer:
        """Whether the workspace may now use a feature, or so many units of a quota: why, and until when."""
        return await may(tx.following(), key, units)
