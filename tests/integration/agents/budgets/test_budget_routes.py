"""Budgets over HTTP: set by admins, read by all, asked by whoever holds a run."""

from __future__ import annotations

from typing import Any

import httpx
from tests.integration.agents.tools.conftest import ada, app, bob, client, join, lane, sign_up
from tests.integration.api.conftest import Join, Person, SignUp

__all__ = ["ada", "app", "bob", "client", "join", "lane", "sign_up"]

SET, LISTED, BEGIN, CHECK = (
    "/agents/budgets/set",
    "/agents/budgets/list",
    "/agents/runs/begin",
    "/agents/runs/check-budget",
)
DAILY = {"meter": "agent.tokens", "period": "day", "limit": 100}


async def begin(client: httpx.AsyncClient, headers: dict[str, str]) -> dict[str, Any]:
    answer = await client.post(BEGIN, json={"agent": "helper", "runtime": "there"}, headers=headers)
    assert answer.status_code == 201, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def test_a_budget_is_set_used_asked_and_removed(client: httpx.AsyncClient, ada: Person) -> None:
    said = await client.post(SET, json=DAILY, headers=ada.headers)
    assert said.status_code == 200, said.text
    assert {key: said.json()[key] for key in ("limit", "used", "left", "currency")} == {
        "limit": "100",
        "used": "0",
        "left": "100",
        "currency": None,
    }
    run = await begin(client, ada.headers)
    held = {"run_id": run["run_id"], "lease_token": run["lease_token"]}
    within = await client.post(CHECK, json={**held, "expects_tokens": 100}, headers=ada.headers)
    assert within.json() == {"allowed": True, "meter": None, "reason": None}
    over = (await client.post(CHECK, json={**held, "expects_tokens": 101}, headers=ada.headers)).json()
    assert (over["allowed"], over["meter"]) == (False, "agent.tokens")
    step = {"kind": "model", "name": "chat", "input_tokens": 90, "output_tokens": 10}
    await client.post("/agents/runs/record-steps", json={**held, "steps": [step]}, headers=ada.headers)
    [listed] = (await client.get(LISTED, headers=ada.headers)).json()["data"]
    assert (listed["used"], listed["left"]) == ("100", "0")
    blocked = await begin(client, ada.headers)
    assert (blocked["lease_token"], blocked["created"]) == (None, True)
    assert "100 of 100 tokens" in blocked["refused"]
    trace = (await client.get(f"/agents/runs/{blocked['run_id']}", headers=ada.headers)).json()
    assert (trace["status"], trace["error_class"]) == ("blocked_policy", "policy_denied")
    target = {"meter": "agent.tokens", "period": "day"}
    gone = await client.post("/agents/budgets/remove", json=target, headers=ada.headers)
    assert gone.json() == target
    assert (await client.post("/agents/budgets/remove", json=target, headers=ada.headers)).status_code == 404
    assert (await begin(client, ada.headers))["refused"] is None


async def test_a_queued_run_is_refused_when_it_is_taken(client: httpx.AsyncClient, ada: Person) -> None:
    queued = (await client.post(BEGIN, json={"agent": "helper"}, headers=ada.headers)).json()
    await client.post(SET, json={**DAILY, "limit": "0"}, headers=ada.headers)
    taking = {"run_id": queued["run_id"], "runtime": "there"}
    taken = (await client.post("/agents/runs/take", json=taking, headers=ada.headers)).json()
    assert taken["lease_token"] is None
    assert "0 of 0 tokens" in taken["refused"]


async def test_members_read_budgets_and_admins_set_them(
    client: httpx.AsyncClient, ada: Person, bob: Person, sign_up: SignUp, join: Join
) -> None:
    viewer, member, admin = [await join(ada, await sign_up(role), role) for role in ("viewer", "member", "admin")]
    for headers in (viewer, member):
        assert (await client.post(SET, json=DAILY, headers=headers)).status_code == 403
        assert (await client.get(LISTED, headers=headers)).status_code == 200
    assert (await client.post(SET, json=DAILY, headers=admin)).status_code == 200
    run = await begin(client, member)
    held = {"run_id": run["run_id"], "lease_token": run["lease_token"]}
    assert (await client.post(CHECK, json=held, headers=viewer)).status_code == 403
    assert (await client.post(CHECK, json=held, headers=bob.headers)).status_code == 404
    assert (await client.post(CHECK, json={**held, "lease_token": 9}, headers=member)).status_code == 409
    assert (await client.get(LISTED, headers=bob.headers)).json() == {"data": []}


async def test_what_is_no_budget_is_refused(client: httpx.AsyncClient, ada: Person) -> None:
    for said in ({"limit": -1}, {"meter": "x"}, {"period": "week"}, {"currency": "USD"}, {"colour": "red"}):
        assert (await client.post(SET, json={**DAILY, **said}, headers=ada.headers)).status_code == 422
