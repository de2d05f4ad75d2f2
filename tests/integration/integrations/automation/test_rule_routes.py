"""Rules over HTTP: written by admins, checked before they are published, tried without effect."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

import httpx
import jsonschema_rs
import pytest
from tests.integration.api.conftest import Join, Person, SignUp
from tests.integration.engine.lab import somebody_waits
from tests.integration.integrations.automation.conftest import Shop, add_connector_action
from tests.integration.integrations.connecting import connect

from datalane.contracts.context import Context, Role
from datalane.engine.audit import list_records
from datalane.engine.events import publish
from datalane.integrations.automation import service
from datalane.integrations.automation.publishing import CheckedVersion
from datalane.integrations.automation.schemas import NewRuleVersion
from datalane.kit.ids import uuid7

pytestmark = pytest.mark.one_database

RULES, RUNS = "/automation/rules", "/automation/runs"
NOTE: dict[str, Any] = {"action": "note", "arguments": {"text": {"cel": "'invoice ' + string(event.payload.invoice)"}}}
RULE: dict[str, Any] = {
    "name": "A rule",
    "event_type": "invoice.paid",
    "condition": "event.payload.invoice > 5",
    "actions": [NOTE],
}


async def create(client: httpx.AsyncClient, who: Person, **said: Any) -> httpx.Response:
    return await client.post(f"{RULES}/create", json={**RULE, **said}, headers=who.headers)


async def made(client: httpx.AsyncClient, who: Person, **said: Any) -> dict[str, Any]:
    answer = await create(client, who, **said)
    assert answer.status_code == 201, answer.text
    rule: dict[str, Any] = answer.json()
    return rule


async def command(client: httpx.AsyncClient, who: Person, verb: str, **said: Any) -> httpx.Response:
    return await client.post(f"/automation/{verb}", json=said, headers=who.headers)


def of(shop: Shop, who: Person) -> Shop:
    return Shop(shop.database, shop.integrations, Context(who.workspace_id, who.user_id, Role.OWNER), shop.notes)


async def test_a_rule_is_made_published_anew_disabled_and_enabled(
    client: httpx.AsyncClient, ada: Person, shop: Shop
) -> None:
    rule = await made(client, ada)
    assert (rule["current_version"], rule["enabled"], rule["actions"]) == (1, True, [NOTE])
    target = {"rule_id": rule["rule_id"]}
    second = {"condition": "true", "actions": [NOTE, NOTE]}
    answer = await command(client, ada, "rules/publish", **target, current_version=1, **second)
    assert (answer.status_code, answer.json()["current_version"], answer.json()["condition"]) == (200, 2, "true")
    late = await command(client, ada, "rules/publish", **target, current_version=1, **second)
    assert (late.status_code, late.json()["code"], late.json()["current"]["current_version"]) == (
        409,
        "stale_version",
        2,
    )
    off = await command(client, ada, "rules/disable", **target, reason="a holiday")
    assert (off.json()["enabled"], off.json()["disabled_reason"]) == (False, "a holiday")
    found = (await client.get(f"{RULES}/{rule['rule_id']}", headers=ada.headers)).json()
    assert [(one["version"], len(one["actions"])) for one in found["versions"]] == [(2, 2), (1, 1)]
    on = await command(client, ada, "rules/enable", **target)
    assert (on.json()["enabled"], on.json()["disabled_reason"]) == (True, None)
    async with shop.database.transaction(of(shop, ada).context) as tx:
        records = [record.action for record in await list_records(tx, resource_type="automation_rule")]
    assert records == [f"automation_rule.{what}" for what in ("enabled", "disabled", "published", "created")]


@pytest.mark.parametrize(
    ("said", "field", "says"),
    [
        ({"condition": "amount > 3"}, "body.condition", "undeclared reference to 'amount'"),
        ({"condition": "1 + 1"}, "body.condition", "its type is INT, not BOOL"),
        ({"event_type": "invoice.eaten"}, "body.event_type", "not registered"),
        ({"actions": [{"action": "mail"}]}, "body.actions.0.action", "item.create, item.transition, note"),
        ({"actions": [NOTE, {"action": "note", "arguments": {}}]}, "body.actions.1.arguments.text", "Field required"),
        ({"actions": [{"action": "note", "arguments": {"text": 7}}]}, "body.actions.0.arguments.text", "valid string"),
        (
            {"actions": [{"action": "note", "arguments": {"text": "x", "colour": {"cel": "'red'"}}}]},
            "body.actions.0.arguments.colour",
            "not permitted",
        ),
        (
            {"actions": [{"action": "note", "arguments": {"text": {"cel": "now()"}}}]},
            "body.actions.0.arguments.text",
            "undeclared reference to 'now'",
        ),
        (
            {"actions": [{"action": "item.create", "arguments": {"title": "x", "metadata": {"a": [{"cel": "("}]}}}]},
            "body.actions.0.arguments.metadata.a.0",
            "Syntax error",
        ),
        ({"actions": []}, "body.actions", "at least 1"),
        ({"name": ""}, "body.name", "at least 1"),
        ({"workspace_id": str(uuid7())}, "body.workspace_id", "not permitted"),
        ({"condition": "\x00"}, "body.condition", "NUL"),
    ],
)
async def test_a_rule_that_could_not_run_is_refused_by_its_field(
    client: httpx.AsyncClient, ada: Person, said: dict[str, Any], field: str, says: str
) -> None:
    answer = await create(client, ada, **said)
    assert answer.status_code == 422, answer.text
    assert [fault["field"] for fault in answer.json()["errors"]] == [field]
    assert says in answer.json()["errors"][0]["message"]
    assert (await client.get(RULES, headers=ada.headers)).json()["data"] == []


async def test_a_condition_that_is_too_long_is_refused_with_its_limit(client: httpx.AsyncClient, ada: Person) -> None:
    answer = await create(client, ada, condition="true".ljust(4_097))
    assert (answer.status_code, "limits.condition" in answer.json()["detail"]) == (413, True)


@pytest.mark.parametrize("depth", [40, 400, 4_000, 40_000])
async def test_arguments_that_are_nested_too_deeply_are_refused(
    client: httpx.AsyncClient, ada: Person, depth: int
) -> None:
    deep = '{"cel": "1"}'
    body = json.dumps({**RULE, "actions": [{"action": "note", "arguments": {"text": "DEEP"}}]})
    body = body.replace('"DEEP"', "[" * depth + deep + "]" * depth)
    answer = await client.post(
        f"{RULES}/create", content=body, headers={**ada.headers, "Content-Type": "application/json"}
    )
    assert answer.status_code in (413, 422), answer.text
    assert "deep" in answer.json()["detail"]


async def test_names_are_taken_once_and_rules_are_bounded(
    client: httpx.AsyncClient, ada: Person, bob: Person, shop: Shop
) -> None:
    await made(client, ada)
    again = await create(client, ada)
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert (await create(client, bob)).status_code == 201, "another workspace has its own names"
    for number in range(99):
        await made(client, ada, name=f"Rule {number}", condition="true")
    full = await create(client, ada, name="One more")
    assert (full.status_code, "limits.rules" in full.json()["detail"]) == (413, True)


async def test_whoever_publishes_an_action_must_be_allowed_to_do_it(client: httpx.AsyncClient, ada: Person) -> None:
    key = {"name": "rules only", "role": "admin", "scopes": ["automation.*"]}
    token = (await client.post("/api-keys/create", json=key, headers=ada.headers)).json()["key"]
    by_key = {"Authorization": f"Bearer {token}"}
    refused = await client.post(f"{RULES}/create", json=RULE, headers=by_key)
    assert (refused.status_code, "event.publish" in refused.json()["detail"]) == (403, True)
    target = {"rule_id": (await made(client, ada))["rule_id"]}
    assert (await client.post(f"{RULES}/enable", json=target, headers=by_key)).status_code == 403
    disabled = await client.post(f"{RULES}/disable", json=target, headers=by_key)
    assert (disabled.status_code, disabled.json()["enabled"]) == (200, False), "its record takes no scope of its own"
    off = {"enabled": False, "reason": "a test"}
    assert (await client.post("/automation/switch", json=off, headers=by_key)).status_code == 200


async def test_members_and_viewers_look_and_change_nothing(
    client: httpx.AsyncClient, ada: Person, sign_up: SignUp, join: Join
) -> None:
    rule = await made(client, ada)
    target = {"rule_id": rule["rule_id"]}
    commands: dict[str, dict[str, Any]] = {
        "rules/create": RULE,
        "rules/publish": {**target, "actions": [NOTE]},
        "rules/enable": target,
        "rules/disable": target,
        "rules/dry-run": {**target, "event_id": str(uuid7())},
        "switch": {"enabled": False, "reason": "why not"},
        "runs/replay": {"status": "failed"},
    }
    for role in ("viewer", "member"):
        there = await join(ada, await sign_up(role), role)
        for path, body in commands.items():
            assert (await client.post(f"/automation/{path}", json=body, headers=there)).status_code == 403, path
        for path in (RULES, f"{RULES}/{rule['rule_id']}", RUNS):
            assert (await client.get(path, headers=there)).status_code == 200, path


async def test_a_dry_run_says_what_would_be_done_and_does_nothing(
    client: httpx.AsyncClient, ada: Person, shop: Shop
) -> None:
    mine = of(shop, ada)
    rule = await made(client, ada)
    event_id = str(await mine.pay(7))
    before = await mine.rows("SELECT count(*) FROM datalane.events")
    answer = await command(client, ada, "rules/dry-run", event_id=event_id, rule_id=rule["rule_id"])
    assert answer.json() == {
        "holds": True,
        "error_class": None,
        "error_message": None,
        "actions": [{"action": "note", "arguments": {"text": "invoice 7"}, "error": None}],
    }
    unsaved = {"condition": "event.payload.invoice > 100", "actions": [NOTE]}
    answer = await command(client, ada, "rules/dry-run", event_id=event_id, rule=unsaved)
    assert (answer.json()["holds"], answer.json()["actions"]) == (False, [])
    wrong = {"actions": [{"action": "note", "arguments": {"text": {"cel": "event.payload.invoice"}}}]}
    answer = await command(client, ada, "rules/dry-run", event_id=event_id, rule=wrong)
    assert answer.json()["actions"][0]["error"] == "text: Input should be a valid string"
    failing = {"condition": "event.payload.customer == ''", "actions": [NOTE]}
    answer = await command(client, ada, "rules/dry-run", event_id=event_id, rule=failing)
    assert (answer.json()["holds"], answer.json()["error_class"]) == (None, "condition_error")
    assert (await mine.runs(), await mine.left()) == ([], [])
    assert await mine.rows("SELECT count(*) FROM datalane.events") == before
    neither_nor: list[dict[str, Any]] = [{"rule": unsaved, "rule_id": rule["rule_id"]}, {}]
    for said in neither_nor:
        assert (await command(client, ada, "rules/dry-run", event_id=event_id, **said)).status_code == 422
    answer = await command(client, ada, "rules/dry-run", event_id=event_id, rule={**unsaved, "condition": "1 + 1"})
    assert [fault["field"] for fault in answer.json()["errors"]] == ["body.rule.condition"]
    for lost in ({"event_id": str(uuid7())}, {"rule_id": str(uuid7())}):
        asked = {"event_id": event_id, "rule_id": rule["rule_id"], **lost}
        assert (await command(client, ada, "rules/dry-run", **asked)).status_code == 404


async def test_runs_are_listed_by_rule_event_and_status_and_replayed(
    client: httpx.AsyncClient, ada: Person, shop: Shop
) -> None:
    mine = of(shop, ada)
    rule = await made(client, ada)
    events = [str(await mine.pay(invoice)) for invoice in (4, 7, 8)]
    async with mine.working():
        await mine.ended(3)
    listed = (await client.get(RUNS, params={"rule_id": rule["rule_id"], "page_size": 2}, headers=ada.headers)).json()
    rest = (
        await client.get(
            RUNS,
            params={"rule_id": rule["rule_id"], "page_size": 2, "cursor": listed["next_cursor"]},
            headers=ada.headers,
        )
    ).json()
    runs = [*listed["data"], *rest["data"]]
    assert sorted(run["event_id"] for run in runs) == sorted(events)
    assert rest["next_cursor"] is None
    skipped = (await client.get(RUNS, params={"status": "skipped"}, headers=ada.headers)).json()["data"]
    assert [(run["event_id"], run["reason"]) for run in skipped] == [(events[0], "condition")]
    [run] = (await client.get(RUNS, params={"event_id": events[1]}, headers=ada.headers)).json()["data"]
    whole = (await client.get(f"{RUNS}/{run['run_id']}", headers=ada.headers)).json()
    assert whole["actions"][0]["result"] == {"text": "invoice 7"}
    refused = await command(client, ada, "runs/replay", ids=[run["run_id"]])
    assert (refused.status_code, refused.json()["code"]) == (409, "illegal_transition")
    told = await command(client, ada, "runs/replay", where={"status": "skipped"}, dry_run=True)
    assert told.json() == {"matched": 1, "replayed": 0, "skipped": 0, "ids": [], "dry_run": True}
    no_filters: list[dict[str, Any]] = [
        {},
        {"where": {}},
        {"where": {"status": "completed"}},
        {"ids": []},
        {"where": {"status": "failed"}, "ids": [run["run_id"]]},
    ]
    for said in no_filters:
        assert (await command(client, ada, "runs/replay", **said)).status_code == 422


async def test_another_workspaces_rules_and_runs_are_not_there(
    client: httpx.AsyncClient, ada: Person, bob: Person, shop: Shop
) -> None:
    mine = of(shop, ada)
    rule = await made(client, ada)
    event_id = str(await mine.pay(7))
    async with mine.working():
        [run] = await mine.ended()
    theirs = await made(client, bob)
    for path in (f"{RULES}/{rule['rule_id']}", f"{RUNS}/{run.run_id}"):
        assert (await client.get(path, headers=bob.headers)).status_code == 404
    commands: dict[str, dict[str, Any]] = {
        "rules/publish": {"rule_id": rule["rule_id"], "actions": [NOTE]},
        "rules/enable": {"rule_id": rule["rule_id"]},
        "rules/disable": {"rule_id": rule["rule_id"]},
        "rules/dry-run": {"event_id": event_id, "rule_id": theirs["rule_id"]},
        "runs/replay": {"ids": [str(run.run_id)]},
    }
    for path, body in commands.items():
        assert (await command(client, bob, path, **body)).status_code == 404, path
    listed = (await client.get(RULES, headers=bob.headers)).json()
    assert [one["rule_id"] for one in listed["data"]] == [theirs["rule_id"]]
    assert (await client.get(RUNS, headers=bob.headers)).json()["data"] == []


async def test_the_switch_is_told_with_the_rules(client: httpx.AsyncClient, ada: Person, bob: Person) -> None:
    assert (await client.get(RULES, headers=ada.headers)).json()["switch"]["enabled"] is True
    said = await command(client, ada, "switch", enabled=False, reason="an incident")
    assert (said.json()["enabled"], said.json()["reason"]) == (False, "an incident")
    assert (await client.get(RULES, headers=ada.headers)).json()["switch"] == said.json()
    assert (await client.get(RULES, headers=bob.headers)).json()["switch"]["enabled"] is True
    assert (await command(client, ada, "switch", enabled=True)).status_code == 422, "a reason is asked for"


async def test_a_repeated_request_makes_one_rule(client: httpx.AsyncClient, ada: Person) -> None:
    headers = {**ada.headers, "Idempotency-Key": "once"}
    answers = [await client.post(f"{RULES}/create", json=RULE, headers=headers) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert len((await client.get(RULES, headers=ada.headers)).json()["data"]) == 1


async def test_a_rule_whose_version_is_published_meanwhile_is_paused_with_its_connector(shop: Shop) -> None:
    connector = (await connect(shop.database, shop.context)).connector_id
    add_connector_action(shop.integrations.actions)
    rule = await shop.rule(("call", {"connector_id": str(connector)}))
    version = CheckedVersion("true", [{"action": "call", "arguments": {"connector_id": str(connector)}}])
    new = NewRuleVersion(rule_id=rule.rule_id, condition="true", actions=rule.actions)

    async def pause() -> list[UUID]:
        async with shop.database.transaction(shop.context) as tx:
            return await service.pause_for_connector(tx, connector)

    async with shop.database.transaction(shop.context) as tx:
        await service.publish_version(tx, new, version)
        pausing = asyncio.create_task(pause())
        await somebody_waits(tx)
    assert await pausing == [rule.rule_id]
    assert await shop.rows("SELECT enabled, current_version FROM datalane.automation_rules") == [(False, 2)]


async def test_rules_that_name_a_connector_are_paused_with_it(shop: Shop) -> None:
    connector, other = [(await connect(shop.database, shop.context, name)).connector_id for name in ("one", "other")]
    add_connector_action(shop.integrations.actions)
    named = await shop.rule(("call", {"connector_id": str(connector).upper()}), name="named")
    await shop.rule(("call", {"connector_id": str(other)}), name="another one")
    computed = await shop.rule(("call", {"connector_id": {"cel": "event.payload.connector"}}), name="computed")
    before = await shop.rule(("call", {"connector_id": str(connector)}), name="no longer")
    await shop.publish_version(before, ("note", {"text": "x"}))
    elsewhere = shop.elsewhere()
    theirs = (await connect(shop.database, elsewhere.context)).connector_id
    await elsewhere.rule(("call", {"connector_id": str(theirs)}))
    async with shop.database.transaction(shop.context) as tx:
        assert await service.pause_for_connector(tx, connector) == [named.rule_id]
        assert await service.pause_for_connector(tx, connector) == []
        paused = await service.get_rule(tx, named.rule_id)
        assert (paused.enabled, paused.disabled_reason) == (False, service.CONNECTOR_REVOKED)
        assert (await service.get_rule(tx, computed.rule_id)).enabled
        await publish(tx, "invoice.paid", {"invoice": 7})
    assert len(await shop.rows("SELECT FROM datalane.jobs WHERE kind = 'automation.run'")) == 3
    assert (await elsewhere.rows("SELECT enabled FROM datalane.automation_rules")) == [(True,)]


async def test_whoever_may_read_rules_sees_what_they_may_do(
    client: httpx.AsyncClient, ada: Person, bob: Person, join: Join
) -> None:
    viewing = await join(ada, bob, "viewer")
    answer = await client.get("/automation/actions/list", headers=viewing)
    assert answer.status_code == 200, answer.text
    actions = {action["name"]: action for action in answer.json()["data"]}
    assert list(actions) == sorted(actions)
    assert {"note", "item.create", "item.transition", "connector.call", "webhook.deliver", "notify"} == set(actions)
    told = actions["note"]
    assert (told["description"], told["permission"]) == ("Leaves a note.", "event.publish")
    assert (told["arguments"]["required"], told["arguments"]["properties"]["fails"]["type"]) == (["text"], "integer")
    for action in actions.values():
        assert jsonschema_rs.meta.is_valid(action["arguments"])
    key = {"name": "others", "role": "admin", "scopes": ["item.*"]}
    token = (await client.post("/api-keys/create", json=key, headers=ada.headers)).json()["key"]
    scoped = await client.get("/automation/actions/list", headers={"Authorization": f"Bearer {token}"})
    assert scoped.status_code == 403
