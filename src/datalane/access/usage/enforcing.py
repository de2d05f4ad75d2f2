"""Enforcing quotas at run time: at the door of an API, around a function, around work whose size is not known.

    lane.usage.consume(context, "reports.created")            in a transaction of its own
    @metered("reports.created")                               in the caller's transaction, undone with it
    async with lane.usage.reserved(context, "agent.tokens", 4_000) as work: work.units = 1_234

What is refused raises `UsageLimitReached`: over HTTP that is 429 with `Retry-After` and `RateLimit` headers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from datalane.access.usage import service
from datalane.access.usage.lines import Lines
from datalane.access.usage.schemas import Counter, Use
from datalane.access.usage.service import Doors
from datalane.contracts.context import Context
from datalane.db.transaction import Transaction
from datalane.errors import Conflict, DatalaneError, UsageLimitReached
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7
from datalane.kit.logs import get_logger

P = ParamSpec("P")
R = TypeVar("R")

log = get_logger(__name__)


@dataclass
class ReservedWork:
    """Work under way, for which `reserved` units are set aside. Set `units` to what it took before it ends."""

    reserved: int
    units: int | None = None


class Usage:
    """Uses quotas in transactions of its own, which stay whatever becomes of the work; inside a transaction of the same
    task, in that one."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._lines = Lines(doors)

    async def consume(
        self, context: Context, quota_key: str, units: int = 1, *, idempotency_key: str | None = None
    ) -> Use:
        """Count a use, once by the key; without one this call is the use. Raises `UsageLimitReached`, and as
        `service.use`."""
        used = await self._lines.use(context, quota_key, units, idempotency_key or uuid7().hex)
        return service.admitted(used, units)

    @asynccontextmanager
    async def reserved(
        self,
        context: Context,
        quota_key: str,
        units: int,
        *,
        idempotency_key: str | None = None,
        lasts: timedelta = service.RESERVED_FOR,
    ) -> AsyncIterator[ReservedWork]:
        """Set units aside for the time of the block, and count what it took: all of them unless the block says. What
        the block raises gives them back.

        Raises `UsageLimitReached` when there is no room for them. When the block took more than was set aside and
        there is no room for that, what was set aside is counted and it is raised at the end; so it is when the block
        took longer than `lasts` and there is no room any more. Who is cancelled while it is counted may leave it
        uncounted: what was set aside is free again at the end of `lasts`.
        """
        key, work = idempotency_key or uuid7().hex, ReservedWork(units)
        async with self._doors.transaction(context) as tx:
            set_aside = await service.reserve(tx, quota_key, units, idempotency_key=key, lasts=lasts)
        service.admitted(set_aside, units)
        try:
            yield work
        except BaseException:
            try:
                async with self._doors.transaction(context) as tx:
                    await service.release(tx, quota_key, idempotency_key=key)
            except DatalaneError as error:  # it ends by itself; what the block raised is what matters
                log.warning("usage_not_released", quota_key=quota_key, error=str(error))
            raise
        took = units if work.units is None else work.units
        service.admitted(await self._settle(context, quota_key, took, units, key), took)

    async def _settle(self, context: Context, quota_key: str, took: int, reserved: int, key: str) -> Use:
        try:
            async with self._doors.transaction(context) as tx:
                used = await service.commit(tx, quota_key, took, idempotency_key=key)
                if used.is_refused:
                    await service.commit(tx, quota_key, reserved, idempotency_key=key)
                return used
        except Conflict:  # nothing is set aside any more: it took too long
            if not took:
                raise
            async with self._doors.transaction(context) as tx:
                return await service.use(tx, quota_key, took, idempotency_key=key)


def metered(
    quota_key: str, units: int = 1
) -> Callable[
    [Callable[Concatenate[Transaction, P], Awaitable[R]]], Callable[Concatenate[Transaction, P], Awaitable[R]]
]:
    """Count each call of a function that takes a transaction first, in that transaction: what is rolled back was not
    used. At the limit the call raises `UsageLimitReached` and the function does not run."""

    def decorate(
        function: Callable[Concatenate[Transaction, P], Awaitable[R]],
    ) -> Callable[Concatenate[Transaction, P], Awaitable[R]]:
        @wraps(function)
        async def counted(tx: Transaction, /, *args: P.args, **kwargs: P.kwargs) -> R:
            await service.consume(tx.following(), quota_key, units, idempotency_key=uuid7().hex)
            return await function(tx, *args, **kwargs)

        return counted

    return decorate


class RequestQuota:
    """Counts requests of a workspace against one quota. A workspace whose plan has no such quota is not counted."""

    def __init__(self, doors: Doors, quota_key: str) -> None:
        self._doors = doors
        self._lines = Lines(doors)
        self.quota_key = quota_key

    async def admit(self, context: Context) -> dict[str, str]:
        """Count a request. Answers the headers that say what is left; raises `UsageLimitReached`, with them."""
        # The lane counts, since a viewer's request is one too.
        system = Context.system(context.workspace_id, context.correlation_id)
        async with self._doors.transaction(system) as tx:
            counter = await service.get_counter(tx, self.quota_key)
        if counter is None:
            return {}
        used = await self._lines.use(system, self.quota_key, 1, uuid7().hex)
        policy = {} if counter.limit_units is None else {"RateLimit-Policy": _policy(counter)}
        try:
            service.admitted(used, 1)
        except UsageLimitReached as refused:
            refused.headers = {**policy, **rate_limit(used, utc_now())}
            raise
        return {**policy, **rate_limit(used, utc_now())}


def rate_limit(used: Use, now: datetime) -> dict[str, str]:
    """`RateLimit` of draft-ietf-httpapi-ratelimit-headers: what is left (`r`), and the seconds until the quota begins
    again (`t`), where it does so at a moment. Nothing without a limit."""
    if used.remaining_units is None:
        return {}
    until = used.period_end or used.retry_at
    rest = "" if until is None else f";t={max(0, round((until - now).total_seconds()))}"
    return {"RateLimit": f'"{used.quota_key}";r={used.remaining_units}{rest}'}


def _policy(counter: Counter) -> str:
    """`RateLimit-Policy`: the limit (`q`) and the seconds of the window (`w`)."""
    begins, ends = counter.period_start, counter.period_end
    seconds = counter.seconds or (round((ends - begins).total_seconds()) if begins and ends else 0)
    return f'"{counter.quota_key}";q={counter.limit_units};w={seconds}'
