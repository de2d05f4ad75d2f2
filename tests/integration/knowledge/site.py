"""The HTTP application over a library, and the people who use it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
from tests.apps import shared_app
from tests.conftest import a_context
from tests.integration.knowledge.library import Library

from datalane.contracts.context import Role
from datalane.knowledge import routes
from datalane.knowledge.runtime import Knowledge

PASSWORD = "correct horse battery"
TEXT = b"Herons stand still in the reeds."


@dataclass
class Site:
    """The application, the library behind it, and people who sign up when they are first needed: the owner, someone of
    each other role, and a stranger with a workspace of their own."""

    client: httpx.AsyncClient
    library: Library
    headers: dict[str, dict[str, str]]
    workspace_id: UUID

    async def known(self, who: str) -> dict[str, str]:
        """The headers with which `who` acts."""
        if who not in self.headers:
            person = await sign_up(self.client, who)
            self.headers[who] = {"Authorization": f"Bearer {person['token']}"}
            if who != "stranger":
                offer = {"email": f"{who}@example.com", "role": who}
                invite = await self.client.post("/workspaces/invites/create", json=offer, headers=self.headers["owner"])
                token = {"token": invite.json()["token"]}
                joined = await self.client.post("/workspaces/invites/accept", json=token, headers=self.headers[who])
                assert joined.status_code == 200, joined.text
                self.headers[who]["X-Workspace-Id"] = str(self.workspace_id)
        return self.headers[who]

    async def post(self, path: str, who: str = "owner", **request: Any) -> httpx.Response:
        extra = request.pop("headers", {})
        return await self.client.post(path, headers={**await self.known(who), **extra}, **request)

    async def get(self, path: str, who: str = "owner", **params: Any) -> httpx.Response:
        return await self.client.get(path, headers=await self.known(who), params=params)

    async def upload(self, data: bytes = TEXT, who: str = "owner", name: str = "a.txt", **form: Any) -> httpx.Response:
        headers = form.pop("headers", {})
        return await self.post("/documents/upload", who, files={"file": (name, data)}, data=form, headers=headers)

    async def bring_in(self, data: bytes = TEXT, **form: Any) -> dict[str, Any]:
        answer = await self.upload(data, **form)
        assert answer.status_code == 202, answer.text
        await self.library.through()
        return dict(answer.json())


async def sign_up(client: httpx.AsyncClient, name: str) -> dict[str, Any]:
    account = {"email": f"{name}@example.com", "password": PASSWORD, "name": name}
    answer = await client.post("/auth/sign-up", json=account)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


@asynccontextmanager
async def calling(library: Library, knowledge: Knowledge | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application; `knowledge` takes the place of the library's."""
    app = shared_app(library.lane, routes.router, knowledge=knowledge or library.knowledge)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://lane") as client:
        yield client


@asynccontextmanager
async def open_site(library: Library, knowledge: Knowledge | None = None) -> AsyncIterator[Site]:
    """Its owner is signed up, and the library acts in the owner's workspace."""
    async with calling(library, knowledge) as client:
        owner = await sign_up(client, "owner")
        workspace_id = UUID(owner["workspace_id"])
        headers = {"owner": {"Authorization": f"Bearer {owner['token']}"}}
        library.context = a_context(workspace_id, Role.OWNER)
        yield Site(client, library, headers, workspace_id)
