"""API keys: made by admins, for one workspace, never above their creator's role; only a hash is stored.

Scopes narrow what a key may do. They are checked wherever a line of the role matrix is, that is by routes and services;
the policies of the database know the role alone.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from datalane.contracts.authorization import MATRIX
from datalane.contracts.context import Role
from datalane.db.transaction import Transaction
from datalane.errors import Forbidden
from datalane.identity.permissions import CREATE_KEY, READ_KEYS, REVOKE_KEY
from datalane.identity.queries import queries
from datalane.identity.schemas import ApiKey, ApiKeys, CreatedApiKey, NewApiKey, RevokedApiKey
from datalane.identity.tokens import ApiKeyToken, digest, new_secret
from datalane.kit.ids import uuid7


async def create_api_key(tx: Transaction, new: NewApiKey, now: datetime | None = None) -> CreatedApiKey:
    """A key whose printed form is in the answer and nowhere else.

    Raises `Forbidden` for a role above one's own, and when a key would make one that may do more or lives longer than
    itself; `InvalidInput` for a scope that is no permission.
    """
    CREATE_KEY.check(tx.context)
    scopes = None if new.scopes is None else sorted(set(new.scopes))
    MATRIX.check_scopes(scopes or ())
    role = Role(new.role)
    if role.rank > tx.context.role.rank:
        raise Forbidden(f"an API key cannot hold a role above its creator's ({tx.context.role})")
    token = ApiKeyToken(tx.workspace_id, uuid7(), new_secret())
    created_at = await queries.create_api_key(
        tx.connection,
        key_id=token.key_id,
        secret_hash=digest(token.secret),
        name=new.name,
        role=new.role,
        expires_at=new.expires_at,
        scopes=scopes,
        now=now,
    )
    return CreatedApiKey(
        key=str(token),
        key_id=token.key_id,
        name=new.name,
        role=role,
        scopes=scopes,
        created_at=created_at,
        expires_at=new.expires_at,
    )


async def list_api_keys(tx: Transaction, *, cursor: str | None = None, page_size: int = 25) -> ApiKeys:
    """Keys in the order they were made, revoked ones too. Raises `InvalidInput` for another list's cursor."""
    READ_KEYS.check(tx.context)
    after = tx.read_id_cursor("api_keys", cursor)
    rows = await queries.list_api_keys(tx.connection, following=after, most=page_size + 1)
    page, following = tx.cut_page("api_keys", rows, page_size, lambda row: [row["key_id"]])
    return ApiKeys(data=[ApiKey.model_validate(dict(row)) for row in page], page_size=page_size, next_cursor=following)


async def revoke_api_key(tx: Transaction, key_id: UUID, now: datetime | None = None) -> RevokedApiKey:
    """From now on the key is refused. Raises `NotFound`; revoking again changes nothing."""
    REVOKE_KEY.check(tx.context)
    return RevokedApiKey(key_id=key_id, revoked_at=await queries.revoke_api_key(tx.connection, key_id=key_id, now=now))
