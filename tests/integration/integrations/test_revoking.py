"""A connector that is revoked takes along what depends on it, in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import httpx
import pytest
from tests.integration.api.conftest import OpenLane, Person
from tests.integration.engine.lab import somebody_waits
from tests.integration.integrations.connecting import connect

from datalane.contracts.context import Context, Role
from datalane.db.transaction import Transaction
from datalane.errors import Conflict, InvalidInput
from datalane.integrations.automation import service as rules
from datalane.integrations.automation.publishing import CheckedVersion
from datalane.integrations.automation.schemas import NewRule, NewRuleVersion, RuleAction
from datalane.integrations.connectors.schemas import ConnectorTarget, RevokedConnector
from datalane.integrations.connectors.service import revoke_connector
from datalane.integrations.runtime import Integrations
from datalane.integrations.webhooks.endpoints import service as endpoints
from datalane.integrations.webhooks.endpoints.schemas import NewWebhookEndpoint, WebhookEndpointChange
from datalane.kit.ids import uuid7

pytestmark = pytest.mark.one_database

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


def calling(*connector_ids: str) -> list[dict[str, Any]]:
    return [{"action": "connector.call", "arguments": {"connector_id": each, "path": "/"}} for each in connector_ids]


async def refused(client: httpx.AsyncClient, who: Person, path: str, **body: Any) -> list[tuple[str, str]]:
    """The fields that were refused, and why."""
    answer = await client.post(path, json=body, headers=who.headers)
    assert answer.status_code == 422, answer.text
    return [(fault["field"], fault["code"]) for fault in answer.json()["errors"]]


async def test_a_rule_is_not_made_published_or_enabled_with_a_connector_that_is_revoked_or_is_none(
    client: httpx.AsyncClient, ada: Person, bob: Person
) -> None:
    register = "/integrations/connectors/register"
    revoked = (await post(client, ada, register, **CONNECTOR))["connector_id"]
    kept = (await post(client, ada, register, **{**CONNECTOR, "name": "Mail"}))["connector_id"]
    theirs = (await post(client, bob, register, **CONNECTOR))["connector_id"]
    stopped, other = await rule_calling(client, ada, revoked), await rule_calling(client, ada, kept)
    await post(client, ada, "/integrations/connectors/revoke", connector_id=revoked)
    said = {"name": "A late one", "event_type": "invoice.paid", "actions": calling(kept, revoked, str(uuid7()), theirs)}
    faults = [
        ("body.actions.1.arguments.connector_id", "connector_revoked"),
        ("body.actions.2.arguments.connector_id", "unknown_connector"),
        ("body.actions.3.arguments.connector_id", "unknown_connector"),
    ]
    for enabled in (True, False):
        assert await refused(client, ada, "/automation/rules/create", **said, enabled=enabled) == faults
    published = {"rule_id": other, "actions": said["actions"]}
    assert await refused(client, ada, "/automation/rules/publish", **published) == faults
    first = [("actions.0.arguments.connector_id", "connector_revoked")]
    assert await refused(client, ada, "/automation/rules/enable", rule_id=stopped) == first
    await post(client, ada, "/automation/rules/publish", rule_id=stopped, actions=calling(kept))
    assert (await post(client, ada, "/automation/rules/enable", rule_id=stopped))["enabled"] is True


async def test_an_endpoint_of_a_revoked_connector_is_enabled_once_it_depends_on_another_or_none(
    client: httpx.AsyncClient, ada: Person
) -> None:
    register = "/integrations/connectors/register"
    revoked = (await post(client, ada, register, **CONNECTOR))["connector_id"]
    kept = (await post(client, ada, register, **{**CONNECTOR, "name": "Mail"}))["connector_id"]
    paused = [await endpoint_of(client, ada, revoked) for _ in range(2)]
    await post(client, ada, "/integrations/connectors/revoke", connector_id=revoked)
    target = {"url": "https://hooks.example.com/in", "event_types": ["invoice.paid"]}
    fault = [("body.connector_id", "connector_revoked")]
    assert await refused(client, ada, "/webhooks/endpoints/create", **target, connector_id=revoked) == fault
    for endpoint_id, instead in zip(paused, (kept, None), strict=True):
        of = {"endpoint_id": endpoint_id}
        assert await refused(client, ada, "/webhooks/endpoints/enable", **of) == [("connector_id", "connector_revoked")]
        seen = (await client.get(f"/webhooks/endpoints/{endpoint_id}", headers=ada.headers)).json()["version"]
        again = {**of, "version": seen, "connector_id": revoked}
        assert await refused(client, ada, "/webhooks/endpoints/update", **again) == fault
        changed = await post(client, ada, "/webhooks/endpoints/update", **{**again, "connector_id": instead})
        assert (changed["connector_id"], changed["status"]) == (instead, "paused")
        assert (await post(client, ada, "/webhooks/endpoints/enable", **of))["status"] == "enabled"
    described = {"endpoint_id": paused[0], "version": changed["version"] + 1, "description": "as it was"}
    assert (await post(client, ada, "/webhooks/endpoints/update", **described))["connector_id"] == kept


# Races ------------------------------------------------------------------------------------------------------------


@dataclass
class Race:
    """A connector, and what comes to depend on it while it is revoked. `rule_id` is a rule that names it and is
    disabled, `endpoint_id` an endpoint that is paused and depends on none yet."""

    lane: OpenLane
    integrations: Integrations
    admin: Context
    connector_id: UUID
    rule_id: UUID
    endpoint_id: UUID

    @classmethod
    async def of(cls, lane: OpenLane, integrations: Integrations, context: Context) -> Race:
        admin = replace(context, role=Role.ADMIN)
        connector_id = (await connect(lane.database, admin)).connector_id
        race = cls(lane, integrations, admin, connector_id, uuid7(), uuid7())
        async with race.transaction() as tx:
            race.rule_id = await race.create(tx, enabled=False)
            new = NewWebhookEndpoint(url="https://hooks.example.com/in", event_types=["invoice.paid"])
            race.endpoint_id = (await endpoints.create_endpoint(tx, new)).endpoint.endpoint_id
        return race

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with self.lane.database.transaction(self.admin) as tx:
            yield tx

    def version(self) -> CheckedVersion:
        return CheckedVersion("true", calling(str(self.connector_id)))

    def actions(self) -> list[RuleAction]:
        return [RuleAction.model_validate(each) for each in self.version().actions]

    async def create(self, tx: Transaction, *, enabled: bool = True) -> UUID:
        new = NewRule(name=str(enabled), event_type="invoice.paid", actions=self.actions(), enabled=enabled)
        return (await rules.create_rule(tx, new, self.version())).rule_id

    async def publish(self, tx: Transaction) -> UUID:
        """Another version of a rule that runs from then on."""
        new = NewRuleVersion(rule_id=self.rule_id, actions=self.actions())
        rule = await rules.publish_version(tx, new, self.version())
        await tx.execute("UPDATE datalane.automation_rules SET enabled = true WHERE rule_id = $1", self.rule_id)
        return rule.rule_id

    async def enable(self, tx: Transaction) -> UUID:
        return (await rules.enable_rule(tx, self.integrations.actions, self.rule_id)).rule_id

    async def endpoint(self, tx: Transaction) -> UUID:
        change = WebhookEndpointChange(endpoint_id=self.endpoint_id, version=1, connector_id=self.connector_id)
        return (await endpoints.change_endpoint(tx, change)).endpoint_id

    async def revoke(self, tx: Transaction) -> RevokedConnector:
        target = ConnectorTarget(connector_id=self.connector_id)
        return await revoke_connector(tx, target, self.integrations.dependents)


Depend = Callable[[Race, Transaction], Awaitable[UUID]]
DEPENDS = pytest.mark.parametrize("depend", [Race.create, Race.publish, Race.enable, Race.endpoint])


@DEPENDS
async def test_who_revokes_a_connector_finds_what_came_to_depend_on_it_meanwhile(
    lane: OpenLane, integrations: Integrations, context: Context, depend: Depend
) -> None:
    race = await Race.of(lane, integrations, context)

    async def revoke() -> RevokedConnector:
        async with race.transaction() as tx:
            return await race.revoke(tx)

    async with race.transaction() as tx:
        depending = await depend(race, tx)
        revoking = asyncio.create_task(revoke())
        await somebody_waits(tx)
    assert [paused.ids for paused in (await revoking).paused] == [[depending]]


@DEPENDS
async def test_what_would_depend_on_a_connector_finds_that_it_was_revoked_meanwhile(
    lane: OpenLane, integrations: Integrations, context: Context, depend: Depend
) -> None:
    race = await Race.of(lane, integrations, context)

    async def come() -> UUID:
        async with race.transaction() as tx:
            return await depend(race, tx)

    async with race.transaction() as tx:
        assert (await race.revoke(tx)).paused == []
        coming = asyncio.create_task(come())
        await somebody_waits(tx)
    with pytest.raises(InvalidInput, match="the connector was revoked"):
        await coming


async def test_a_version_that_is_published_while_a_rule_is_enabled_is_looked_at_again(
    lane: OpenLane, integrations: Integrations, context: Context
) -> None:
    """It may name other connectors than those that were held."""
    race = await Race.of(lane, integrations, context)

    async def enable() -> UUID:
        async with race.transaction() as tx:
            return await race.enable(tx)

    async with race.transaction() as tx:
        new = NewRuleVersion(rule_id=race.rule_id, actions=race.actions())
        await rules.publish_version(tx, new, race.version())
        enabling = asyncio.create_task(enable())
        await somebody_waits(tx)
    with pytest.raises(Conflict, match="another version"):
        await enabling
