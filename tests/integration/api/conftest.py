"""The application on a real database, called over ASGI, and people who use it."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from tests.apps import shared_app
from tests.conftest import shares_its_database

from datalane.db.database import Database
from datalane.kit.ids import uuid7
from datalane.kit.logs import configure_logging
from datalane.settings import Settings

PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class OpenLane:
    database: Database
    settings: Settings


@dataclass(frozen=True)
class Person:
    """Someone signed in; `headers` authenticate as them in their own first workspace."""

    email: str
    token: str
    user_id: UUID
    workspace_id: UUID

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def within(self, workspace_id: UUID | str) -> dict[str, str]:
        return {**self.headers, "X-Workspace-Id": str(workspace_id)}


SignUp = Callable[[str], Awaitable[Person]]


@pytest.fixture
def lane(database: Database) -> OpenLane:
    return OpenLane(database, Settings())


@pytest.fixture
def app(lane: OpenLane) -> FastAPI:
    return shared_app(lane)


@pytest.fixture
async def client(request: pytest.FixtureRequest, app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Each test that shares its database calls from an address of its own: limits are counted by addresses."""
    address = str(IPv6Address(uuid7().bytes)) if shares_its_database(request) else "127.0.0.1"
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 123))
    async with httpx.AsyncClient(transport=transport, base_url="http://lane") as opened:
        yield opened


@pytest.fixture
def sign_up(request: pytest.FixtureRequest, client: httpx.AsyncClient) -> SignUp:
    domain = f"{uuid7().hex}.example.com" if shares_its_database(request) else "example.com"

    async def sign_up(name: str) -> Person:
        account = {"email": f"{name}@{domain}", "password": PASSWORD, "name": name}
        answer = await client.post("/auth/sign-up", json=account)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        return Person(account["email"], made["token"], UUID(made["user_id"]), UUID(made["workspace_id"]))

    return sign_up


@pytest.fixture
async def ada(sign_up: SignUp) -> Person:
    return await sign_up("ada")


@pytest.fixture
async def bob(sign_up: SignUp) -> Person:
    return await sign_up("bob")


Join = Callable[[Person, Person, str], Awaitable[dict[str, str]]]


@pytest.fixture
def join(client: httpx.AsyncClient) -> Join:
    async def join(owner: Person, person: Person, role: str) -> dict[str, str]:
        """`person` joins `owner`'s workspace; the headers with which they act there."""
        offer = {"email": person.email, "role": role}
        invite = await client.post("/workspaces/invites/create", json=offer, headers=owner.headers)
        assert invite.status_code == 201, invite.text
        token = {"token": invite.json()["token"]}
        joined = await client.post("/workspaces/invites/accept", json=token, headers=person.headers)
        assert (joined.status_code, joined.json().get("role")) == (200, role), joined.text
        return person.within(owner.workspace_id)

    return join


@dataclass(frozen=True)
class Log:
    stream: io.StringIO

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


@pytest.fixture
def log() -> Iterator[Log]:
    """Everything logged, as it would be written."""
    stream = io.StringIO()
    configure_logging("INFO", stream)
    yield Log(stream)
    configure_logging("WARNING")


def without_correlation(answer: httpx.Response) -> tuple[int, dict[str, Any]]:
    """Status and body but for the correlation id: what must not tell a foreign thing from a missing one."""
    body = answer.json()
    assert body.pop("correlation_id") == answer.headers["x-correlation-id"]
    return answer.status_code, body
