"""A connector that is revoked takes along what depends on it, in one transaction."""

from __future__ import annotations

from typing import Any

import httpx
from tests.integration.api.conftest import Person

CONNECTOR: dict[str, Any] = {
    "name": "Payments",
    "kind": "stripe",
    "credentials": {"token": "a token"},
    "base_url": "https://api.example.com/v1",
}


async def post(client: httpx.AsyncClient, who: Person, path: str, **body: Any) -> Any:
    answer = await client.post(path, json=body, headers=who.headers)
    assert answer.is_success, answer.text
    return answer.json()


async def rule_calling(client: httpx.AsyncClient, who: Person, connector_id: str) -> str:
    call = {
        "action": "connector.call",
        "arguments": {"connector_id": connector_id, "method": "GET", "path": "/charges"},
    }
    said = {"name": f"Calls {connector_id}", "event_type": "invoice.paid", "condition": "true", "actions": [call]}
    return str((await post(client, who, "/automation/rules/create", **said))["rule_id"])


async def test_the_rules_that_call_a_connector_stop_with_it_and_others_go_on(
    client: httpx.AsyncClient, ada: Person
) -> None:
    revoked, kept = [
        (await post(client, ada, "/integrations/connectors/register", **{**CONNECTOR, "name": name}))["connector_id"]
        for name in ("Payments", "Mail")
    ]
    stopped, running = await rule_calling(client, ada, revoked), await rule_calling(client, ada, kept)
    told = await post(client, ada, "/integrations/connectors/revoke", connector_id=revoked)
    assert told["paused"] == [{"kind": "automation_rule", "count": 1, "ids": [stopped]}]
    rules = (await client.get("/automation/rules", headers=ada.headers)).json()["data"]
    assert {rule["rule_id"]: rule["enabled"] for rule in rules} == {stopped: False, running: True}
    [notice] = (await client.get("/notifications/list", headers=ada.headers)).json()["data"]
    assert "1 of the kind automation_rule" in notice["text"]


async def endpoint_of(client: httpx.AsyncClient, who: Person, connector_id: str | None) -> str:
    said = {"url": "https://hooks.example.com/in", "event_types": ["invoice.paid"], "connector_id": connector_id}
    return str((await post(client, who, "/webhooks/endpoints/create", **said))["endpoint"]["endpoint_id"])


async def test_the_endpoints_of_a_connector_pause_with_it_and_others_go_on(
    client: httpx.AsyncClient, ada: Person
) -> None:
    connector_id = (await post(client, ada, "/integrations/connectors/register", **CONNECTOR))["connector_id"]
    paused, enabled = await endpoint_of(client, ada, connector_id), await endpoint_of(client, ada, None)
    told = await post(client, ada, "/integrations/connectors/revoke", connector_id=connector_id)
    assert told["paused"] == [{"kind": "webhook_endpoint", "count": 1, "ids": [paused]}]
    listed = (await client.get("/webhooks/endpoints/list", headers=ada.headers)).json()["data"]
    assert {one["endpoint_id"]: (one["status"], one["status_reason"]) for one in listed} == {
        paused: ("paused", "connector_revoked"),
        enabled: ("enabled", None),
    }
