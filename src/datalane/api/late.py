"""Writes whose slow part comes first: files and extraction before the transaction, so that they hold no connection.

    look for a stored answer ──> the route's slow work ──> begin ──> write ──> keep the answer ──> commit

What the slow work left outside the database is undone when the commit was surely not reached. When the commit itself
fails, nobody here can know whether it happened, so nothing is undone and the sweep of originals looks later.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta

from starlette.responses import Response

from datalane.api.idempotency import KeyedRequest, keep, recall
from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.db.transaction import Transaction

Undo = Callable[[], Awaitable[None]]


class AnsweredMeanwhile(Exception):
    """Another request with the same key was answered while this one did its slow work."""

    def __init__(self, answer: Response) -> None:
        super().__init__("answered meanwhile")
        self.answer = answer


class LateTransaction:
    """Implements `datalane.contracts.http.LateTransaction`. `answer` runs one route's handler around it."""

    def __init__(self, database: Database, context: Context, asked: KeyedRequest | None, kept: timedelta) -> None:
        self.context = context
        self._database = database
        self._asked = asked
        self._kept = kept
        self._opened = AsyncExitStack()
        self._transaction: Transaction | None = None
        self._undo: list[Undo] = []
        self._commits = False

    def on_failure(self, undo: Undo) -> None:
        self._undo.append(undo)

    async def begin(self) -> Transaction:
        if self._transaction is not None:
            raise RuntimeError("the transaction of a request begins once")
        self._transaction = await self._opened.enter_async_context(self._database.transaction(self.context))
        if self._asked is not None:
            stored = await recall(self._transaction, self._asked, self._kept)
            if stored is not None:
                raise AnsweredMeanwhile(stored)
        return self._transaction

    async def answer(self, handle: Callable[[], Awaitable[Response]], secrets: frozenset[str]) -> Response:
        """The stored answer of the request's key, or that of `handle`, committed. `secrets` are not stored."""
        stored = await self._stored_answer()
        if stored is not None:
            return stored
        try:
            async with self._opened:
                response = await handle()
                if self._transaction is not None and self._asked is not None:
                    await keep(self._transaction, self._asked, response, secrets, self._kept)
                self._commits = True
        except BaseException as error:
            if not self._commits:
                await self._undo_all()
            if isinstance(error, AnsweredMeanwhile):
                return error.answer
            raise
        return response

    async def _stored_answer(self) -> Response | None:
        """Asked before the slow work, so that a repeated request does none. It holds the key for this look only."""
        if self._asked is None:
            return None
        async with self._database.transaction(self.context) as tx:
            return await recall(tx, self._asked, self._kept)

    async def _undo_all(self) -> None:
        while self._undo:
            await self._undo.pop()()
