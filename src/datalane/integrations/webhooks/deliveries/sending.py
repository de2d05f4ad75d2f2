"""Sending one message: signed anew each time, over connections that are used again."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from uuid import UUID

from datalane.contracts.context import DEPTH_HEADER
from datalane.db.transaction import Transaction
from datalane.engine.vault import open_sealed
from datalane.integrations.webhooks.deliveries.decisions import LOOKUP_BUSY, Outcome, read_answer, read_error
from datalane.integrations.webhooks.endpoints.service import place_of
from datalane.kit.lookups import LookupBusy
from datalane.kit.outbound import FetchFailed, FetchRefused, Outbound, Session
from datalane.kit.standard_webhooks import Signer, read_signer, sign
from datalane.settings import WebhookSettings

_KEPT = 1_000
"""Endpoints whose keys stay in memory."""


class Sender:
    """Sends, and keeps what is needed for the next time: connections, and opened keys."""

    def __init__(self, outbound: Outbound, webhooks: WebhookSettings) -> None:
        self._outbound = outbound
        self._timeout = webhooks.timeout
        self._excerpt = webhooks.response_excerpt
        self._open = AsyncExitStack()
        self._session: Session | None = None
        self._keys: OrderedDict[tuple[UUID, tuple[bytes, ...]], list[Signer]] = OrderedDict()

    async def aclose(self) -> None:
        self._session = None
        await self._open.aclose()

    async def keys_of(self, tx: Transaction, endpoint_id: UUID, sealed: Sequence[bytes]) -> list[Signer]:
        """What an endpoint's messages are signed with. Raises `MasterKeyMissing` and `SealBroken`."""
        place = (endpoint_id, tuple(sealed))
        if place not in self._keys:
            opened = [await open_sealed(tx, each, place_of(endpoint_id)) for each in sealed]
            self._keys[place] = [read_signer(each.decode()) for each in opened]
            if len(self._keys) > _KEPT:
                self._keys.popitem(last=False)
        self._keys.move_to_end(place)
        return self._keys[place]

    async def send(
        self,
        workspace_id: UUID,
        url: str,
        message_id: str,
        body: bytes,
        depth: int,
        keys: Sequence[Signer],
        now: datetime,
    ) -> Outcome:
        """One request, and what came of it; it raises nothing that the other side can bring about. `depth` is that of
        the event."""
        headers = {**sign(message_id, now, body, keys), "content-type": "application/json", DEPTH_HEADER: str(depth)}
        began = time.perf_counter()
        try:
            session = await self._opened()
            answer = await session.send("POST", url, headers, body, self._timeout, self._excerpt, workspace_id)
        except LookupBusy:
            return Outcome(LOOKUP_BUSY, latency_ms=_since(began))
        except (FetchRefused, FetchFailed) as error:
            return read_error(error, _since(began))
        return read_answer(answer, now, _since(began), self._excerpt)

    async def _opened(self) -> Session:
        if self._session is None:
            self._session = await self._open.enter_async_context(self._outbound.session())
        return self._session


def _since(began: float) -> float:
    return round((time.perf_counter() - began) * 1_000, 3)
