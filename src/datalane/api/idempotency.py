"""`Idempotency-Key`: the same key with the same body gets the stored answer, with another body an error.

The answer commits with the effect it answers for, so a crash leaves both or neither; an error stores nothing, and the
same key may try again. While a request holds the key, a second one gets 409 at once instead of waiting. Secrets that
are shown once are null in the stored answer. Scope: workspace, actor and route.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

import orjson
from starlette.requests import Request
from starlette.responses import Response

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import IdempotencyMismatch, InvalidInput, RequestInFlight

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
_KEY = re.compile(r"[!-~]{1,255}")

_queries = load_queries(__file__, "idempotency.sql")


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request that carries a key: `route` is method and path template, `digest` SHA-256 of path, query and body."""

    key: str
    route: str
    digest: bytes


def idempotency_key(request: Request) -> str | None:
    """The key of the request, if it has one. Raises `InvalidInput` for a malformed one."""
    given = request.headers.getlist(HEADER)
    if not given:
        return None
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        raise InvalidInput(f"{HEADER} must be one value of 1 to 255 printable ASCII characters without spaces")
    return given[0]


async def recall(tx: Transaction, asked: KeyedRequest, kept: timedelta) -> Response | None:
    """The answer given before, None for a new key. Holds the key until `tx` ends.

    Raises `RequestInFlight` when another request holds it, `IdempotencyMismatch` for another body.
    """
    row = await _queries.recall(
        tx.connection,
        workspace_id=tx.workspace_id,
        actor_id=tx.context.actor_id,
        route=asked.route,
        key=asked.key,
        kept=kept,
        now=None,
    )
    if not row["held"]:
        raise _in_flight()
    if row["status"] is None:
        return None
    if row["request_hash"] != asked.digest:
        raise IdempotencyMismatch(f"this {HEADER} came with another request before; take a new key for a new request")
    return Response(row["body"], row["status"], {REPLAYED: "true"}, "application/json" if row["body"] else None)


async def keep(
    tx: Transaction, asked: KeyedRequest, response: Response, secrets: frozenset[str], kept: timedelta
) -> None:
    """Store `response` for the key, without the members named in `secrets`."""
    stored = await _queries.keep(
        tx.connection,
        workspace_id=tx.workspace_id,
        actor_id=tx.context.actor_id,
        route=asked.route,
        key=asked.key,
        request_hash=asked.digest,
        status=response.status_code,
        body=_without(bytes(response.body), secrets),
        kept=kept,
        now=None,
    )
    if stored is None:
        raise _in_flight()


def _in_flight() -> RequestInFlight:
    return RequestInFlight(f"a request with this {HEADER} is being answered right now; ask again for its answer")


def _without(body: bytes, secrets: frozenset[str]) -> bytes:
    if not secrets:
        return body
    members = orjson.loads(body)
    return orjson.dumps({name: None if name in secrets else value for name, value in members.items()})
