"""What a domain's routes ask of the HTTP face, so that domains need not import it.

A domain has `routes.py` with `def router(door: Door) -> APIRouter`:

    def router(door: Door) -> APIRouter:
        routes = door.router(prefix="/documents", tags=["documents"])

        @routes.post("/create", status_code=201)
        async def create(body: NewDocument, tx: Transaction = door.writer(CREATE)) -> Document:
            return await service.create(tx, body)

        return routes

`CREATE` is the line of the role matrix that the route takes (`datalane.contracts.authorization`). The face
authenticates, checks that line, reads and checks the body, opens the tenant transaction, runs the route, and
commits before the answer leaves. An error rolls everything back and becomes a problem document. Writers answer
`Idempotency-Key` in the same transaction as the effect. A route that declares none of the door's dependencies is
public; the route table test holds the list of those.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from datalane.contracts.authorization import Permission
from datalane.contracts.context import Context
from datalane.contracts.one_time import ONE_TIME_SECRET as ONE_TIME_SECRET
from datalane.contracts.plans import Plans
from datalane.kit.encoding import to_json
from datalane.settings import Settings


def plain(content: Any) -> Response:
    """An answer whose values are what its model says already, written as the model would write them, in less time.

    For lists that are asked for all the time. The route names the model: `@routes.get(…, response_model=ItemPage)`.
    """
    return Response(to_json(content, orjson.OPT_UTC_Z), media_type="application/json")


def correlation_of(request: Request) -> str:
    """The correlation id of a request to a public route, which has no context that would carry it."""
    found: str = request.scope["datalane.trace"].correlation_id
    return found


class LateTransaction(Protocol):
    """A write whose slow work (files, extraction) comes before its transaction and holds no connection.

    kept = await store(late.context, data)
    late.on_failure(lambda: discard(kept))
    tx = await late.begin()
    return await service.create(tx, kept)
    """

    @property
    def context(self) -> Context: ...

    def on_failure(self, undo: Callable[[], Awaitable[None]]) -> None:
        """Run `undo`, which must not raise, after an error that surely left nothing committed.

        It does not run when the commit itself fails, because that may have taken effect.
        """
        ...

    async def begin(self) -> Any:
        """Open the `Transaction`, once. It commits when the answer is known, and an idempotent answer with it."""
        ...


class Watcher(Protocol):
    """A caller whose answer goes on long after the door: what they may is asked again while it does.

    async def pieces():
        while True:
            async with watcher.database.transaction(await watcher.check()) as tx:
                ...
            yield sse.event("entry", …)

    return watcher.stream(pieces())
    """

    @property
    def context(self) -> Context: ...

    @property
    def database(self) -> Any:
        """The lane's `Database`."""
        ...

    async def check(self) -> Context:
        """The context as it is now. Raises what ends the stream: the credential or membership ended, the role fell."""
        ...

    def stream(self, pieces: AsyncGenerator[bytes, None]) -> Response:
        """Server-sent events, each piece whole blocks of `datalane.kit.sse`. The next piece is asked for when the
        client took the one before. What `check` raises is told as an event `end` with its code."""
        ...


PlansOf = Callable[[Request], Plans]
"""Tells how the statements of a request are planned."""


class Door(Protocol):
    """Dependencies for route parameters, each for one line of the role matrix.

    `reader` and `writer` give the open `Transaction` with its context, `preparer` and `uploader` a `LateTransaction`
    (the body of an upload may be larger), `caller` the `Context` alone: open a transaction with `transaction(context)`.
    `caller` is for reads: without the route's own transaction there is no idempotent answer. `plans` says how
    the route's statements are planned (`Transaction.state_plans`). `watcher` gives a `Watcher`.
    """

    @property
    def settings(self) -> Settings: ...

    def reader(self, permission: Permission, *, plans: Plans | PlansOf = ...) -> Any: ...

    def writer(self, permission: Permission) -> Any: ...

    def preparer(self, permission: Permission) -> Any: ...

    def uploader(self, permission: Permission) -> Any: ...

    def caller(self, permission: Permission) -> Any: ...

    def watcher(self, permission: Permission) -> Any: ...

    def router(self, *, prefix: str = "", tags: Sequence[str] = ()) -> APIRouter:
        """A router whose routes go through the door."""
        ...

    def transaction(self, context: Context) -> AbstractAsyncContextManager[Any]: ...


MakeRouter = Callable[[Door], APIRouter]
"""How a domain hands over its routes."""
