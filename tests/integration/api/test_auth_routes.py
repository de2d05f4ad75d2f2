"""Signing up, in and out over HTTP, and what a token opens."""

from __future__ import annotations

from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from tests.integration.api.conftest import PASSWORD, Join, OpenLane, Person, SignUp, without_correlation

from datalane.api.app import create_app
from datalane.api.openapi import access_by_operation
from datalane.api.routes import PUBLIC
from datalane.domains import domain_routers, open_runtime


async def test_a_new_account_owns_a_workspace_and_is_signed_in(client: httpx.AsyncClient, ada: Person) -> None:
    me = (await client.get("/auth/me", headers=ada.headers)).json()
    assert me["user_id"] == me["actor_id"] == str(ada.user_id)
    assert (me["email"], me["role"], me["auth_method"]) == ("ada@example.com", "owner", "session")
    assert me["workspace_id"] == str(ada.workspace_id)


async def test_the_same_address_cannot_sign_up_twice(client: httpx.AsyncClient, ada: Person) -> None:
    again = {"email": "ADA@example.com", "password": PASSWORD, "name": "Ada"}
    answer = await client.post("/auth/sign-up", json=again)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"email": "not an address"}, "body.email"),
        ({"email": None}, "body.email"),
        ({"password": "short"}, "body.password"),
        ({"password": "x" * 1001}, "body.password"),
        ({"name": " "}, "body.name"),
        ({"name": "a\x00b"}, "body.name"),
        ({"workspace_id": "x"}, "body.workspace_id"),
    ],
)
async def test_a_wrong_field_is_named_and_its_value_is_not_repeated(
    client: httpx.AsyncClient, change: dict[str, str], field: str
) -> None:
    account = {"email": "ada@example.com", "password": PASSWORD, "name": "Ada", **change}
    answer = await client.post("/auth/sign-up", json=account)
    assert answer.status_code == 422
    assert [fault["field"] for fault in answer.json()["errors"]] == [field]
    assert account["password"] not in answer.text


async def test_signing_in_gives_a_token_that_works_until_signing_out(client: httpx.AsyncClient, ada: Person) -> None:
    credentials = {"email": ada.email, "password": PASSWORD}
    signed_in = (await client.post("/auth/sign-in", json=credentials)).json()
    headers = {"Authorization": f"Bearer {signed_in['token']}"}
    assert (await client.get("/auth/me", headers=headers)).status_code == 200
    assert (await client.post("/auth/sign-out", headers=headers)).status_code == 204
    assert (await client.get("/auth/me", headers=headers)).status_code == 401
    assert (await client.get("/auth/me", headers=ada.headers)).status_code == 200


async def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(
    client: httpx.AsyncClient, ada: Person
) -> None:
    answers = [
        await client.post("/auth/sign-in", json={"email": email, "password": "wrong password"})
        for email in (ada.email, "nobody@example.com")
    ]
    assert without_correlation(answers[0]) == without_correlation(answers[1])
    assert answers[0].status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": f"Bearer {'A' * 43}"},
    ],
)
async def test_every_route_but_the_public_ones_takes_a_valid_token(
    app: FastAPI, client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    operations = access_by_operation(app)
    guarded = {operation for operation in operations if operation[1] not in PUBLIC}
    assert len(guarded) >= 11
    for method, path in guarded:
        answer = await client.request(method, path, headers=headers)
        assert answer.status_code == 401, (method, path)
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["code"] == "unauthenticated"


async def test_two_authorization_headers_are_refused(client: httpx.AsyncClient, ada: Person) -> None:
    both = [("Authorization", f"Bearer {ada.token}"), ("Authorization", "Bearer other")]
    assert (await client.get("/auth/me", headers=both)).status_code == 401


async def test_no_route_is_open_by_mistake(lane: OpenLane) -> None:
    async with open_runtime(lane.settings) as runtime:
        operations = access_by_operation(create_app(lane, domain_routers(runtime)))
    assert {path for (_, path), access in operations.items() if access is None} == PUBLIC


async def test_a_foreign_workspace_is_like_one_that_does_not_exist(
    client: httpx.AsyncClient, ada: Person, bob: Person
) -> None:
    for path in ("/auth/me", "/workspaces/members/list", "/api-keys/list"):
        foreign = await client.get(path, headers=ada.within(bob.workspace_id))
        unknown = await client.get(path, headers=ada.within(uuid4()))
        assert without_correlation(foreign) == without_correlation(unknown)
        assert foreign.status_code == 404


async def test_a_malformed_workspace_id_is_a_clear_error(client: httpx.AsyncClient, ada: Person) -> None:
    answer = await client.get("/auth/me", headers={**ada.headers, "X-Workspace-Id": "1; DROP TABLE users"})
    assert (answer.status_code, answer.json()["detail"]) == (422, "X-Workspace-Id must be one UUID")


async def test_a_session_acts_in_each_workspace_of_its_user_with_that_role(
    client: httpx.AsyncClient, ada: Person, sign_up: SignUp, join: Join
) -> None:
    eve = await sign_up("eve")
    there = await join(ada, eve, "viewer")
    assert (await client.get("/auth/me", headers=there)).json()["role"] == "viewer"
    assert (await client.get("/auth/me", headers=eve.headers)).json()["role"] == "owner"
