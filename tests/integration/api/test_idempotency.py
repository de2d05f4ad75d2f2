"""`Idempotency-Key`: one effect and one answer for one key."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import httpx
import psycopg
import pytest
from fastapi import APIRouter
from tests.integration.api.conftest import Join, OpenLane, Person

from datalane.api.app import create_app
from datalane.contracts.context import Context, Role
from datalane.contracts.http import Door
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.db.transaction import Transaction
from datalane.engine.permissions import PUBLISH
from datalane.settings import Limits, Settings


def keyed(person: Person, key: str = "k-1") -> dict[str, str]:
    return {**person.headers, "Idempotency-Key": key}


async def names(client: httpx.AsyncClient, person: Person) -> list[str]:
    listed = await client.get("/workspaces/list", headers=person.headers)
    return [workspace["name"] for workspace in listed.json()["data"][1:]]


async def test_the_same_key_and_body_get_the_stored_answer(client: httpx.AsyncClient, ada: Person) -> None:
    first = await client.post("/workspaces/create", json={"name": "A"}, headers=keyed(ada))
    second = await client.post("/workspaces/create", json={"name": "A"}, headers=keyed(ada))
    assert (first.status_code, first.content) == (second.status_code, second.content) == (201, first.content)
    assert first.headers["content-type"] == second.headers["content-type"]
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert await names(client, ada) == ["A"]


async def test_the_same_key_with_another_body_is_refused(client: httpx.AsyncClient, ada: Person) -> None:
    await client.post("/workspaces/create", json={"name": "A"}, headers=keyed(ada))
    other = await client.post("/workspaces/create", json={"name": "B"}, headers=keyed(ada))
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert await names(client, ada) == ["A"]


async def test_a_key_belongs_to_its_actor_and_its_route(
    client: httpx.AsyncClient, ada: Person, bob: Person, join: Join
) -> None:
    await client.post("/workspaces/create", json={"name": "A"}, headers=keyed(ada))
    there = {**await join(ada, bob, "admin"), "Idempotency-Key": "k-1"}
    assert (await client.post("/workspaces/create", json={"name": "B"}, headers=there)).status_code == 201
    assert (await client.post("/api-keys/create", json={"name": "A"}, headers=keyed(ada))).status_code == 201


async def test_a_failed_request_stores_nothing_and_may_be_tried_again(
    client: httpx.AsyncClient, ada: Person, bob: Person
) -> None:
    wrong = {"email": ada.email, "role": "viewer"}
    assert (await client.post("/workspaces/invites/create", json=wrong, headers=keyed(ada))).status_code == 409
    right = {"email": bob.email, "role": "viewer"}
    assert (await client.post("/workspaces/invites/create", json=right, headers=keyed(ada))).status_code == 201


async def test_a_secret_shown_once_is_not_in_the_stored_answer(
    client: httpx.AsyncClient, ada: Person, urls: Prepared
) -> None:
    first = (await client.post("/api-keys/create", json={"name": "ci"}, headers=keyed(ada))).json()
    second = (await client.post("/api-keys/create", json={"name": "ci"}, headers=keyed(ada))).json()
    assert second == {**first, "key": None}
    assert len((await client.get("/api-keys/list", headers=ada.headers)).json()["data"]) == 1
    with psycopg.connect(urls.maintenance_url) as connection:
        connection.execute("SET ROLE datalane_definer")
        stored = connection.execute("SELECT convert_from(body, 'UTF8') FROM datalane.idempotency_keys").fetchall()
    assert len(stored) == 1
    assert first["key"].split("_", 3)[3] not in stored[0][0]


async def test_the_token_of_an_invite_is_not_in_the_stored_answer_and_no_second_one_is_made(
    client: httpx.AsyncClient, ada: Person, bob: Person, urls: Prepared, database: Database
) -> None:
    offer = {"email": bob.email, "role": "viewer"}
    first = (await client.post("/workspaces/invites/create", json=offer, headers=keyed(ada))).json()
    second = (await client.post("/workspaces/invites/create", json=offer, headers=keyed(ada))).json()
    assert second == {**first, "token": None}
    with psycopg.connect(urls.maintenance_url) as connection:
        connection.execute("SET ROLE datalane_definer")
        bodies = connection.execute("SELECT convert_from(body, 'UTF8') FROM datalane.idempotency_keys").fetchall()
        kept = connection.execute("SELECT i::text FROM datalane.invites i").fetchall()
    async with database.transaction(Context(ada.workspace_id, ada.user_id, Role.OWNER)) as tx:
        recorded = [tuple(row) for row in await tx.fetch("SELECT a::text FROM datalane.audit_log a")]
    secret = first["token"].split("_", 3)[3]
    assert len(bodies) == len(kept) == 1
    assert not [row for row in (*bodies, *kept, *recorded) if secret in row[0]]
    accepted = await client.post("/workspaces/invites/accept", json={"token": first["token"]}, headers=bob.headers)
    assert accepted.status_code == 200


@pytest.mark.parametrize("key", ["", "with space", "x" * 256, "ü"])
async def test_a_malformed_key_is_refused(client: httpx.AsyncClient, ada: Person, key: str) -> None:
    headers = [(name.encode(), value.encode()) for name, value in keyed(ada, key).items()]
    answer = await client.post("/workspaces/create", json={"name": "A"}, headers=headers)
    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["detail"]


async def test_a_key_may_be_used_again_after_its_window(database: Database, ada: Person) -> None:
    lane = OpenLane(database, Settings(limits=Limits(idempotency_window=timedelta(microseconds=1))))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(lane)), base_url="http://lane") as client:
        await client.post("/workspaces/create", json={"name": "A"}, headers=keyed(ada))
        other = await client.post("/workspaces/create", json={"name": "B"}, headers=keyed(ada))
        assert other.status_code == 201
        assert await names(client, ada) == ["A", "B"]


async def test_old_answers_are_forgotten(client: httpx.AsyncClient, ada: Person, urls: Prepared) -> None:
    await client.post("/workspaces/create", json={"name": "A"}, headers=keyed(ada))
    with psycopg.connect(urls.maintenance_url) as connection:
        forget = "SELECT datalane.forget_idempotent_answers(now => clock_timestamp() + %s::interval)"
        assert connection.execute(forget, ["23 hours"]).fetchone() == (0,)
        assert connection.execute(forget, ["25 hours"]).fetchone() == (1,)


class Gate:
    """A route that waits inside its transaction until the test lets it go on."""

    def __init__(self) -> None:
        self.entered, self.leave, self.ran = asyncio.Event(), asyncio.Event(), 0

    def router(self, door: Door) -> APIRouter:
        routes = door.router(prefix="/gate", tags=["gate"])

        @routes.post("/pass")
        async def enter(tx: Transaction = door.writer(PUBLISH)) -> dict[str, int]:
            self.ran += 1
            await tx.execute("SELECT datalane.audit('gate.passed', 'gate', $1)", str(self.ran))
            self.entered.set()
            await self.leave.wait()
            return {"ran": self.ran}

        return routes


async def test_while_one_is_in_flight_a_second_with_the_same_key_is_told_so(lane: OpenLane, ada: Person) -> None:
    gate = Gate()
    transport = httpx.ASGITransport(create_app(lane, [gate.router]))
    async with httpx.AsyncClient(transport=transport, base_url="http://lane") as client:
        first = asyncio.create_task(client.post("/gate/pass", headers=keyed(ada)))
        await gate.entered.wait()
        second = await client.post("/gate/pass", headers=keyed(ada))
        assert (second.status_code, second.json()["code"]) == (409, "request_in_flight")
        gate.leave.set()
        assert (await first).json() == {"ran": 1}
        assert (await client.post("/gate/pass", headers=keyed(ada))).json() == {"ran": 1}
    async with lane.database.transaction(Context(ada.workspace_id, ada.user_id, Role.OWNER)) as tx:
        assert await tx.fetchval("SELECT count(*) FROM datalane.audit_log WHERE action = 'gate.passed'") == 1


async def test_a_cancelled_request_lets_go_of_its_key_and_leaves_no_effect(lane: OpenLane, ada: Person) -> None:
    gate = Gate()
    transport = httpx.ASGITransport(create_app(lane, [gate.router]))
    async with httpx.AsyncClient(transport=transport, base_url="http://lane") as client:
        first = asyncio.create_task(client.post("/gate/pass", headers=keyed(ada)))
        await gate.entered.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        gate.leave.set()
        assert (await client.post("/gate/pass", headers=keyed(ada))).json() == {"ran": 2}
    async with lane.database.transaction(Context(ada.workspace_id, ada.user_id, Role.OWNER)) as tx:
        rows = await tx.fetch("SELECT resource_id FROM datalane.audit_log WHERE action = 'gate.passed'")
    assert [row["resource_id"] for row in rows] == ["2"]


async def test_of_many_at_once_with_one_key_exactly_one_takes_effect(client: httpx.AsyncClient, ada: Person) -> None:
    racing = [client.post("/workspaces/create", json={"name": "A"}, headers=keyed(ada)) for _ in range(12)]
    answers = await asyncio.gather(*racing)
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
    assert await names(client, ada) == ["A"]
