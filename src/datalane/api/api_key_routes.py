"""API keys of a workspace."""

from __future__ import annotations

from fastapi import APIRouter, Query

from datalane.api.door import HttpDoor
from datalane.db.transaction import Transaction
from datalane.identity import api_keys
from datalane.identity.permissions import CREATE_KEY, READ_KEYS, REVOKE_KEY
from datalane.identity.schemas import ApiKeyRevocation, ApiKeys, CreatedApiKey, NewApiKey, RevokedApiKey


def router(door: HttpDoor) -> APIRouter:
    routes = door.router(prefix="/api-keys", tags=["api keys"])
    most = door.settings.limits.page_size
    size = Query(min(25, most), ge=1, le=most)

    @routes.post("/create", status_code=201)
    async def create(body: NewApiKey, tx: Transaction = door.writer(CREATE_KEY)) -> CreatedApiKey:
        """A key for this workspace, with a role not above one's own. It is shown this once."""
        return await api_keys.create_api_key(tx, body)

    @routes.get("/list")
    async def list_api_keys(
        tx: Transaction = door.reader(READ_KEYS), page_size: int = size, cursor: str | None = None
    ) -> ApiKeys:
        """All keys of the workspace, never their secrets. `cursor` is the `next_cursor` of the page before."""
        return await api_keys.list_api_keys(tx, cursor=cursor, page_size=page_size)

    @routes.post("/revoke")
    async def revoke(body: ApiKeyRevocation, tx: Transaction = door.writer(REVOKE_KEY)) -> RevokedApiKey:
        """Refuse a key from now on."""
        return await api_keys.revoke_api_key(tx, body.key_id)

    return routes
