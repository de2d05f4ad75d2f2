"""By what somebody is told: their own word, the workspace's, what a category has by itself."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.integration.api.conftest import Join, Person, SignUp, without_correlation

pytestmark = pytest.mark.one_database

OWN, UPDATE, LISTED, DEFAULTS = (f"/notifications/preferences{verb}" for verb in ("", "/update", "/list", "/defaults"))
Headers = dict[str, str]


async def say(
    client: httpx.AsyncClient, headers: Headers, category: str, channel: str, wanted: bool | None, to: str = UPDATE
) -> httpx.Response:
    wish = {"category": category, "channel": channel, "wanted": wanted}
    return await client.post(to, json={"preferences": [wish]}, headers=headers)


async def of(client: httpx.AsyncClient, headers: Headers, category: str, channel: str) -> tuple[bool, str]:
    answer = await client.get(OWN, headers=headers)
    assert answer.status_code == 200, answer.text
    [found] = [one for one in answer.json()["data"] if one["category"] == category]
    [told] = [one for one in found["channels"] if one["channel"] == channel]
    return told["wanted"], told["decided_by"]


async def audit(client: httpx.AsyncClient, who: Person, database: Any) -> list[tuple[str, Any]]:
    from datalane.contracts.context import Context, Role
    from datalane.engine.audit import list_records

    async with database.transaction(Context(who.workspace_id, who.user_id, Role.OWNER)) as tx:
        records = await list_records(tx)
    return [(one.action, one.after) for one in records if one.action.startswith("notification")]


async def test_ones_own_word_comes_before_the_workspaces_and_that_before_the_categorys(
    client: httpx.AsyncClient, ada: Person, sign_up: SignUp, join: Join
) -> None:
    bob = await join(ada, await sign_up("bob"), "member")
    assert await of(client, bob, "jobs", "email") == (True, "category")
    assert (await say(client, ada.headers, "jobs", "email", False, to=DEFAULTS)).status_code == 200
    assert await of(client, bob, "jobs", "email") == (False, "workspace")
    assert (await say(client, bob, "jobs", "email", True)).status_code == 200
    assert await of(client, bob, "jobs", "email") == (True, "you")
    assert await of(client, ada.headers, "jobs", "email") == (False, "workspace")


async def test_what_was_said_is_taken_back_with_null(client: httpx.AsyncClient, ada: Person) -> None:
    await say(client, ada.headers, "automation", "webhook", True)
    assert await of(client, ada.headers, "automation", "webhook") == (True, "you")
    taken = await say(client, ada.headers, "automation", "webhook", None)
    assert taken.status_code == 200
    assert await of(client, ada.headers, "automation", "webhook") == (False, "category")
    await say(client, ada.headers, "automation", "webhook", True, to=DEFAULTS)
    back = await say(client, ada.headers, "automation", "webhook", None, to=DEFAULTS)
    [automation] = [one for one in back.json()["data"] if one["category"] == "automation"]
    assert {one["channel"]: one["workspace"] for one in automation["channels"]} == dict.fromkeys(
        ("in_app", "email", "webhook")
    )


@pytest.mark.parametrize("to", [UPDATE, DEFAULTS])
async def test_nobody_switches_off_what_everybody_is_told_of_security(
    client: httpx.AsyncClient, ada: Person, to: str
) -> None:
    answer = await say(client, ada.headers, "security", "in_app", False, to=to)
    assert answer.status_code == 422
    assert [(one["field"], one["code"]) for one in answer.json()["errors"]] == [
        ("body.preferences.0.wanted", "required")
    ]
    assert await of(client, ada.headers, "security", "in_app") == (True, "required")
    assert (await say(client, ada.headers, "security", "email", False, to=to)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"preferences": []},
        {"preferences": [{"category": "gossip", "channel": "email", "wanted": True}]},
        {"preferences": [{"category": "jobs", "channel": "pigeon", "wanted": True}]},
        {"preferences": [{"category": "jobs", "channel": "email"}]},
        {"preferences": [{"category": "jobs", "channel": "email", "wanted": True}] * 2},
        {"preferences": [{"category": "jobs", "channel": "email", "wanted": True, "user_id": "somebody"}]},
        {"preferences": [{"category": "jobs", "channel": "email", "wanted": True}], "workspace_id": "another"},
    ],
)
async def test_what_is_no_preference_is_refused(client: httpx.AsyncClient, ada: Person, body: Any) -> None:
    for path in (UPDATE, DEFAULTS):
        assert (await client.post(path, json=body, headers=ada.headers)).status_code == 422


async def test_a_member_says_nothing_for_the_workspace_nor_for_others(
    client: httpx.AsyncClient, ada: Person, sign_up: SignUp, join: Join
) -> None:
    bob = await join(ada, await sign_up("bob"), "member")
    eve = await join(ada, await sign_up("eve"), "viewer")
    for headers in (bob, eve):
        assert (await say(client, headers, "jobs", "email", False, to=DEFAULTS)).status_code == 403
    assert (await say(client, eve, "jobs", "in_app", False)).status_code == 200
    assert await of(client, bob, "jobs", "in_app") == (True, "category")
    listed = await client.get(LISTED, headers=bob)
    assert listed.status_code == 200
    assert {one["workspace"] for category in listed.json()["data"] for one in category["channels"]} == {None}


async def test_the_same_person_wants_something_else_in_another_workspace(
    client: httpx.AsyncClient, ada: Person, bob: Person, join: Join
) -> None:
    there = await join(ada, bob, "admin")
    await say(client, there, "system", "email", False)
    await say(client, there, "system", "webhook", True, to=DEFAULTS)
    assert await of(client, there, "system", "email") == (False, "you")
    assert await of(client, bob.headers, "system", "email") == (True, "category")
    assert await of(client, bob.headers, "system", "webhook") == (False, "category")


async def test_an_api_key_is_told_nothing_and_has_no_preferences(client: httpx.AsyncClient, ada: Person) -> None:
    made = await client.post("/api-keys/create", json={"name": "k", "role": "admin"}, headers=ada.headers)
    key = {"Authorization": f"Bearer {made.json()['key']}"}
    for asked in (OWN, "/notifications/list"):
        status, body = without_correlation(await client.get(asked, headers=key))
        assert (status, body["code"]) == (403, "forbidden")
    assert (await say(client, key, "jobs", "email", False)).status_code == 403
    assert (await say(client, key, "jobs", "email", False, to=DEFAULTS)).status_code == 200


async def test_email_is_said_not_to_be_available_without_a_mail_server(client: httpx.AsyncClient, ada: Person) -> None:
    answer = await client.get(OWN, headers=ada.headers)
    available = {one["channel"]: one["available"] for one in answer.json()["data"][0]["channels"]}
    assert available == {"in_app": True, "email": False, "webhook": True}


async def test_the_audit_log_tells_what_the_workspace_says_and_not_what_somebody_wants(
    client: httpx.AsyncClient, ada: Person, database: Any
) -> None:
    await say(client, ada.headers, "jobs", "email", False)
    await say(client, ada.headers, "jobs", "email", False)
    await say(client, ada.headers, "jobs", "email", False, to=DEFAULTS)
    assert await audit(client, ada, database) == [
        ("notification_default.changed", {"jobs.email": False}),
        ("notification_preference.changed", None),
    ]
