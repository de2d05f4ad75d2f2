"""Sealing what a connector needs, and handing it to jobs of the lane and to nobody else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

import orjson
from pydantic import SecretStr

from datalane.contracts.context import Role
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.vault import open_sealed, seal
from datalane.errors import Conflict, Forbidden, InvalidInput, LimitExceeded, NotFound
from datalane.integrations.connectors.schemas import ConnectorAuth
from datalane.kit.outbound import FetchRefused, check_header
from datalane.kit.redaction import MASK, redact_text

MOST_BYTES = 32 * 1024
"""Of all credentials of a connector."""
_SHORTEST_MASKED = 4
"""Characters; a shorter secret stands in many words by chance."""
_PLACE = re.compile(r"\{([a-z][a-z0-9_]*)\}")

_queries = load_queries(__file__)


async def seal_credentials(
    tx: Transaction, connector_id: UUID, version: int, credentials: Mapping[str, SecretStr]
) -> bytes:
    """Raises `LimitExceeded`, and `MasterKeyMissing` where the lane keeps no secrets."""
    plain = orjson.dumps({name: secret.get_secret_value() for name, secret in credentials.items()})
    if len(plain) > MOST_BYTES:
        raise LimitExceeded(f"the credentials are {len(plain):,} bytes, over the limit of {MOST_BYTES:,}")
    return await seal(tx, plain, _place(connector_id, version))


async def use_credentials(tx: Transaction, connector_id: UUID) -> dict[str, str]:
    """The secrets by name, for the lane's own jobs. Keep them for one call, and out of logs and rows.

    Raises `Forbidden` for everybody else, `NotFound`, `Conflict` for a revoked connector.
    """
    if tx.context.role is not Role.SYSTEM:
        raise Forbidden("credentials are used by the lane's own jobs only", target="connector.use")
    return await _open(tx, connector_id)


async def mask_credentials(tx: Transaction, connector_id: UUID, text: str | None) -> str | None:
    """`text` without the connector's secrets: what the other side says may quote what it was sent."""
    if text is None:
        return None
    for secret in sorted((await _open(tx, connector_id)).values(), key=len, reverse=True):
        if len(secret) >= _SHORTEST_MASKED:
            text = text.replace(secret, MASK)
    return redact_text(text)[:500]


def check_auth(auth: Sequence[ConnectorAuth], credentials: Mapping[str, SecretStr]) -> None:
    """Raises `InvalidInput` for headers that cannot be made of these credentials; it quotes none."""
    render_auth(auth, {name: secret.get_secret_value() for name, secret in credentials.items()})


def render_auth(auth: Iterable[ConnectorAuth], secrets: Mapping[str, str]) -> dict[str, str]:
    """The headers by name. Raises `InvalidInput`."""
    headers: dict[str, str] = {}
    for place, one in enumerate(auth):
        missing = sorted(set(_PLACE.findall(one.template)) - secrets.keys())
        if missing:
            raise _refused(place, f"the template names {', '.join(missing)}, which the credentials do not have")
        value = _PLACE.sub(lambda found: secrets[found[1]], one.template)
        try:
            check_header(one.header, value)
        except FetchRefused as error:
            raise _refused(place, str(error)) from None
        if one.header.lower() in headers:
            raise _refused(place, f"the header {one.header} stands there twice")
        headers[one.header.lower()] = value
    return headers


async def _open(tx: Transaction, connector_id: UUID) -> dict[str, str]:
    row = await _queries.get_sealed(tx.connection, workspace_id=tx.workspace_id, connector_id=connector_id)
    if row is None:
        raise NotFound("no such connector")
    if row["status"] == "revoked":
        raise Conflict("the connector is revoked; its credentials are gone")
    plain = await open_sealed(tx, row["sealed_credentials"], _place(connector_id, row["credential_version"]))
    secrets: dict[str, str] = orjson.loads(plain)
    return secrets


def _place(connector_id: UUID, version: int) -> str:
    return f"connector:{connector_id}:{version}"


def _refused(place: int, message: str) -> InvalidInput:
    return InvalidInput(
        f"the header cannot be made: {message}", [{"field": f"body.auth.{place}", "message": message, "code": "auth"}]
    )
