"""Using quotas inside a transaction, looking at what is left, and the operator's corrections.

A use is counted in the caller's transaction and undone with it. Who is refused should commit all the same: that the
limit was reached is told by an event of that transaction.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Any, Protocol

import asyncpg

from datalane.access.entitlements.plans import MOST_UNITS
from datalane.access.permissions import CORRECT_USAGE, READ_USAGE, USE_QUOTAS
from datalane.access.usage.schemas import Corrected, Counter, CounterList, Difference, LedgerPage, LedgerRow, Use
from datalane.contracts.context import Context
from datalane.db.faults import translated
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import InvalidInput, UsageLimitReached
from datalane.kit.clock import utc_now

RESERVED_FOR = timedelta(minutes=15)

_queries = load_queries(__file__)
_CONSUME_AS: str = _queries.consume_as.sql


class Doors(Protocol):
    """What quotas are used through: a lane, or its database."""

    def transaction(self, context: Context) -> AbstractAsyncContextManager[Transaction]: ...

    def call(self, context: Context, statement: str, *arguments: Any) -> Coroutine[Any, Any, Any]: ...


async def use(
    tx: Transaction, quota_key: str, units: int = 1, *, idempotency_key: str, now: datetime | None = None
) -> Use:
    """Use units of a quota, once by the key. Answers what came of it, `refused` included.

    `now` is for the system alone. Raises `InvalidInput` for units that are no whole number from 1 to 10^15 and for a
    quota that the plan does not have, `Conflict` for a key that was used with other units.
    """
    USE_QUOTAS.check(tx.context)
    check_units(units)
    row = await _queries.consume(
        tx.connection, quota_key=quota_key, units=units, idempotency_key=idempotency_key, now=now
    )
    return _use(quota_key, row)


async def use_apart(doors: Doors, context: Context, quota_key: str, units: int, *, idempotency_key: str) -> Use:
    """As `use`, in a transaction of its own that takes one round trip."""
    USE_QUOTAS.check(context)
    check_units(units)
    return _use(quota_key, await doors.call(context, _CONSUME_AS, quota_key, units, idempotency_key))


def _use(quota_key: str, row: asyncpg.Record) -> Use:
    outcome, consumed, reserved, limit, period_start, period_end, retry_at = row
    return Use(
        quota_key=quota_key,
        outcome=outcome,
        consumed_units=consumed,
        reserved_units=reserved,
        limit_units=limit,
        period_start=period_start,
        period_end=period_end,
        retry_at=retry_at,
    )


class Wanted(Protocol):
    """A use of many: who uses how much, once by the key."""

    @property
    def context(self) -> Context: ...

    @property
    def units(self) -> int: ...

    @property
    def key(self) -> str: ...


async def use_batch(tx: Transaction, quota_key: str, wanted: Sequence[Wanted]) -> list[Use]:
    """Many uses of one quota with one lock of its counter, each as `use`; all of the workspace of `tx`. Raises as `use`
    for any of them, and `Conflict` when one of the keys is used meanwhile: then nothing is counted."""
    USE_QUOTAS.check(tx.context)
    with translated():
        rows = await _queries.consume_batch(
            tx.connection,
            quota_key=quota_key,
            units=[each.units for each in wanted],
            idempotency_keys=[each.key for each in wanted],
            actor_ids=[each.context.actor_id for each in wanted],
            correlation_ids=[each.context.correlation_id for each in wanted],
        )
    return [Use(quota_key=quota_key, **row) for row in rows]


async def consume(
    tx: Transaction, quota_key: str, units: int = 1, *, idempotency_key: str, now: datetime | None = None
) -> Use:
    """As `use`; raises `UsageLimitReached` where it is refused."""
    return admitted(await use(tx, quota_key, units, idempotency_key=idempotency_key, now=now), units, now)


async def reserve(
    tx: Transaction,
    quota_key: str,
    units: int,
    *,
    idempotency_key: str,
    lasts: timedelta = RESERVED_FOR,
    now: datetime | None = None,
) -> Use:
    """Set units aside for work whose size is not known, until `commit`, `release`, or the end of `lasts`, a day at
    most. Answers as `use`."""
    USE_QUOTAS.check(tx.context)
    check_units(units)
    with translated():
        row = await _queries.reserve(
            tx.connection, quota_key=quota_key, units=units, idempotency_key=idempotency_key, lasts=lasts, now=now
        )
    return Use(quota_key=quota_key, **row)


async def commit(
    tx: Transaction, quota_key: str, units: int, *, idempotency_key: str, now: datetime | None = None
) -> Use:
    """Say what the work took, 0 included. What goes beyond what was set aside must find room like any other use; where
    it finds none, `refused` leaves the reservation as it is.

    Raises `NotFound`, and `Conflict` for a reservation that was settled otherwise or has expired.
    """
    USE_QUOTAS.check(tx.context)
    check_units(units, least=0)
    with translated():
        row = await _queries.commit(
            tx.connection, quota_key=quota_key, units=units, idempotency_key=idempotency_key, now=now
        )
    return Use(quota_key=quota_key, **row)


async def release(tx: Transaction, quota_key: str, *, idempotency_key: str, now: datetime | None = None) -> bool:
    """Give back what was set aside. Answers whether it still was. Raises `NotFound`."""
    USE_QUOTAS.check(tx.context)
    with translated():
        released: bool = await _queries.release(
            tx.connection, quota_key=quota_key, idempotency_key=idempotency_key, now=now
        )
    return released


async def list_counters(tx: Transaction, at: datetime | None = None) -> CounterList:
    """What the quotas of the plan stand at: what a use would find at that moment."""
    READ_USAGE.check(tx.context)
    moment = at or utc_now()
    rows = await _queries.usage_at(tx.connection, at=moment, only_key=None)
    return CounterList(workspace_id=tx.workspace_id, at=moment, data=[_counter(row) for row in rows])


async def get_counter(tx: Transaction, quota_key: str, at: datetime | None = None) -> Counter | None:
    """One of them; None where the plan has no such quota."""
    READ_USAGE.check(tx.context)
    rows = await _queries.usage_at(tx.connection, at=at or utc_now(), only_key=quota_key)
    return _counter(rows[0]) if rows else None


async def list_ledger(tx: Transaction, quota_key: str, cursor: str | None = None, page_size: int = 25) -> LedgerPage:
    """Uses and corrections of a quota, the newest first. Raises `InvalidInput` for a cursor that is not this list's."""
    READ_USAGE.check(tx.context)
    listing = f"usage_ledger/{quota_key}"
    place = tx.read_cursor(listing, cursor)
    rows = await _queries.list_ledger(
        tx.connection,
        workspace_id=tx.workspace_id,
        quota_key=quota_key,
        before_period=place[0] if place else None,
        before_at=datetime.fromisoformat(place[1]) if place else None,
        before_key=place[2] if place else None,
        page_size=page_size + 1,
    )
    page, following = tx.cut_page(
        listing, rows, page_size, lambda row: [row["place"], row["at"].isoformat(), row["idempotency_key"]]
    )
    return LedgerPage(data=[LedgerRow(**row) for row in page], page_size=page_size, next_cursor=following)


async def correct(
    tx: Transaction,
    quota_key: str,
    units: int,
    reason: str,
    *,
    idempotency_key: str,
    occurred_at: datetime | None = None,
    now: datetime | None = None,
) -> Corrected:
    """Add signed units to what was counted at `occurred_at`, of the last 400 days, or now; once by the key. It may pass
    the limit, since what happened has happened.

    Raises `Forbidden` for anybody but the system, `Conflict` for more than was used, and `InvalidInput`.
    """
    CORRECT_USAGE.check(tx.context)
    check_units(abs(units) if _is_whole(units) else units)
    with translated():
        row = await _queries.correct(
            tx.connection,
            quota_key=quota_key,
            units=units,
            reason=reason,
            idempotency_key=idempotency_key,
            occurred_at=occurred_at,
            now=now,
        )
    return Corrected(quota_key=quota_key, **row)


async def reset(
    tx: Transaction, quota_key: str, reason: str, *, idempotency_key: str, now: datetime | None = None
) -> int:
    """Take back all that was used in the period, as one correction. Answers how much that was."""
    CORRECT_USAGE.check(tx.context)
    with translated():
        used: int = await _queries.reset(
            tx.connection, quota_key=quota_key, idempotency_key=idempotency_key, reason=reason, now=now
        )
    return used


async def find_differences(tx: Transaction) -> list[Difference]:
    """Counters that are not what their ledger says: none, unless somebody wrote past the verbs."""
    READ_USAGE.check(tx.context)
    return [Difference(**row) for row in await _queries.differences(tx.connection)]


async def repair(tx: Transaction, quota_key: str, reason: str, now: datetime | None = None) -> int:
    """Make the counters of a quota what their ledger says again. Answers how many were not."""
    CORRECT_USAGE.check(tx.context)
    with translated():
        mended: int = await _queries.repair(tx.connection, quota_key=quota_key, reason=reason, now=now)
    return mended


def admitted(used: Use, units: int, now: datetime | None = None) -> Use:
    """The use, unless it was refused. Raises `UsageLimitReached`, which says what a person understands."""
    if not used.is_refused:
        return used
    raise UsageLimitReached(
        refusal_of(used, units),
        quota_key=used.quota_key,
        limit_units=used.limit_units or 0,
        remaining_units=used.remaining_units or 0,
        retry_after=None if used.retry_at is None else max(0.0, (used.retry_at - (now or utc_now())).total_seconds()),
    )


def refusal_of(used: Use | Counter, units: int) -> str:
    """Why so many units cannot be had, for a person."""
    reserved = f" and {used.reserved_units:,} are set aside" if used.reserved_units else ""
    said = f"{used.consumed_units:,} of {used.limit_units:,} units of {used.quota_key} are used{reserved}"
    if used.limit_units is not None and units > used.limit_units:
        return f"{said}; {units:,} at once are more than the limit of the plan"
    asked = f"; {units:,} more do not fit" if units > 1 else ""
    return f"{said}{asked}"


def _counter(row: Any) -> Counter:
    return Counter(**row, window=row["in_window"])


def check_units(units: object, least: int = 1) -> None:
    """Raises `InvalidInput` for what is no whole number of units."""
    if not (_is_whole(units) and least <= units <= MOST_UNITS):  # type: ignore[operator]
        raise InvalidInput(f"units are a whole number from {least} to {MOST_UNITS}, not {str(units)[:40]}")


def _is_whole(units: object) -> bool:
    return isinstance(units, int) and not isinstance(units, bool)
