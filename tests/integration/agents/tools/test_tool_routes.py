"""Tools and their rules over HTTP: published by admins, read by all, and what hostile callers send."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from tests.integration.agents.tools.conftest import INPUT, MAIL, RULE
from tests.integration.api.conftest import Join, Person, SignUp, without_correlation

from datalane.kit.ids import uuid7

pytestmark = pytest.mark.one_database

TOOLS, RULES = "/agents/tools", "/agents/tool-rules"
GONE = str(uuid7())


async def publish(client: httpx.AsyncClient, headers: dict[str, str], **said: Any) -> httpx.Response:
    return await client.post(f"{TOOLS}/publish", json={**MAIL, **said}, headers=headers)


async def make_rule(client: httpx.AsyncClient, headers: dict[str, str], **said: Any) -> dict[str, Any]:
    answer = await client.post(f"{RULES}/create", json={**RULE, **said}, headers=headers)
    assert answer.status_code == 201, answer.text
    rule: dict[str, Any] = answer.json()
    return rule


async def check(client: httpx.AsyncClient, headers: dict[str, str], **said: Any) -> dict[str, Any]:
    call = {"tool_name": "mail.send", "arguments": {"to": "ada"}, **said}
    answer = await client.post(f"{TOOLS}/check", json=call, headers=headers)
    assert answer.status_code == 200, answer.text
    decided: dict[str, Any] = answer.json()
    return decided


async def test_a_tool_is_published_read_disabled_and_enabled(client: httpx.AsyncClient, ada: Person) -> None:
    answer = await publish(client, ada.headers)
    assert answer.status_code == 200, answer.text
    tool = answer.json()["tool"]
    assert (answer.json()["created"], tool["current_version"], tool["enabled"]) == (True, 1, True)
    assert (tool["required_role"], tool["execution"], tool["max_attempts"]) == ("member", "serial", 3)
    assert (await publish(client, ada.headers)).json() == {"tool": tool, "created": False}
    one = (await client.get(f"{TOOLS}/mail.send", headers=ada.headers)).json()
    assert {**tool, "versions": one["versions"]} == one
    assert [each["input_schema"] for each in one["versions"]] == [INPUT]
    [listed] = (await client.get(f"{TOOLS}/list", headers=ada.headers)).json()["data"]
    assert listed == {key: value for key, value in tool.items() if key not in ("input_schema", "output_schema")}
    target = {"tool_name": "mail.send", "reason": "an incident"}
    off = await client.post(f"{TOOLS}/disable", json=target, headers=ada.headers)
    assert (off.json()["enabled"], off.json()["disabled_reason"]) == (False, "an incident")
    on = await client.post(f"{TOOLS}/enable", json={"tool_name": "mail.send"}, headers=ada.headers)
    assert (on.json()["enabled"], on.json()["disabled_reason"]) == (True, None)


async def test_rules_are_made_changed_ordered_and_deleted(client: httpx.AsyncClient, ada: Person) -> None:
    first = await make_rule(client, ada.headers)
    second = await make_rule(client, ada.headers, position=1, effect="allow", enabled=False)
    change = {**RULE, "rule_id": first["rule_id"], "current_version": 1, "agent": "clerk"}
    changed = await client.post(f"{RULES}/change", json=change, headers=ada.headers)
    assert (changed.status_code, changed.json()["current_version"], changed.json()["agent"]) == (200, 2, "clerk")
    stale = await client.post(f"{RULES}/change", json={**change, "agent": "x"}, headers=ada.headers)
    assert (stale.status_code, stale.json()["current"]["current_version"]) == (409, 2)
    order = {"rule_ids": [first["rule_id"], second["rule_id"]]}
    placed = await client.post(f"{RULES}/reorder", json=order, headers=ada.headers)
    assert [rule["rule_id"] for rule in placed.json()["data"]] == order["rule_ids"]
    short = await client.post(f"{RULES}/reorder", json={"rule_ids": order["rule_ids"][:1]}, headers=ada.headers)
    assert short.status_code == 409
    for verb, enabled in (("disable", False), ("enable", True)):
        answer = await client.post(f"{RULES}/{verb}", json={"rule_id": first["rule_id"]}, headers=ada.headers)
        assert answer.json()["enabled"] is enabled
    gone = await client.post(f"{RULES}/delete", json={"rule_id": first["rule_id"]}, headers=ada.headers)
    assert (gone.status_code, gone.json()["position"]) == (200, None)
    assert [rule["position"] for rule in (await client.get(f"{RULES}/list", headers=ada.headers)).json()["data"]] == [1]
    kept = (await client.get(f"{RULES}/{first['rule_id']}", headers=ada.headers)).json()
    assert [version["version"] for version in kept["versions"]] == [2, 1]


async def test_a_check_tells_what_would_be_decided_of_oneself(
    client: httpx.AsyncClient, ada: Person, sign_up: SignUp, join: Join
) -> None:
    await publish(client, ada.headers)
    viewer, member = [await join(ada, await sign_up(role), role) for role in ("viewer", "member")]
    assert await check(client, member) == {
        "outcome": "authorized",
        "tool_version": 1,
        "rule_id": "tool.default",
        "rule_version": 1,
        "reason": "no rule says otherwise",
        "error_class": None,
        "faults": [],
    }
    blocked = await check(client, viewer)
    assert (blocked["outcome"], blocked["rule_id"], blocked["error_class"]) == (
        "blocked_policy",
        "tool.role",
        "authz_denied",
    )
    unknown = await check(client, member, tool_name="unknown")
    assert (unknown["rule_id"], unknown["tool_version"], unknown["rule_version"]) == ("tool.known", None, 0)
    wrong = await check(client, member, arguments={"copies": 9})
    assert (wrong["outcome"], wrong["rule_id"], wrong["error_class"]) == ("invalid_arguments", None, "validation_error")
    assert {fault["field"] for fault in wrong["faults"]} == {"", "copies"}
    rule = await make_rule(client, ada.headers, effect="escalate", agent="clerk")
    assert (await check(client, member))["outcome"] == "authorized"
    asked = await check(client, member, agent="clerk")
    assert (asked["outcome"], asked["rule_id"], asked["reason"]) == ("escalated", rule["rule_id"], RULE["reason"])


async def test_a_key_without_the_scope_that_a_tool_takes_is_blocked(client: httpx.AsyncClient, ada: Person) -> None:
    await publish(client, ada.headers, required_scopes=["item.create"])
    outcomes = {}
    for name, scopes in {"narrow": ["agent_tool.read"], "fitting": ["agent_tool.read", "item.*"]}.items():
        body = {"name": name, "role": "admin", "scopes": scopes}
        key = (await client.post("/api-keys/create", json=body, headers=ada.headers)).json()["key"]
        outcomes[name] = (await check(client, {"Authorization": f"Bearer {key}"}))["rule_id"]
    assert outcomes == {"narrow": "tool.scopes", "fitting": "tool.default"}


async def test_tools_are_listed_in_pages_by_name(client: httpx.AsyncClient, ada: Person) -> None:
    for name in ("c", "a", "b"):
        assert (await publish(client, ada.headers, tool_name=name)).status_code == 200
    first = (await client.get(f"{TOOLS}/list", params={"page_size": 2}, headers=ada.headers)).json()
    rest = (await client.get(f"{TOOLS}/list", params={"cursor": first["next_cursor"]}, headers=ada.headers)).json()
    assert [tool["tool_name"] for tool in first["data"] + rest["data"]] == ["a", "b", "c"]
    wrong = await client.get(f"{TOOLS}/list", params={"cursor": "x"}, headers=ada.headers)
    assert (wrong.status_code, wrong.json()["errors"][0]["code"]) == (422, "invalid_cursor")


@pytest.mark.parametrize("role", ["viewer", "member"])
async def test_below_an_admin_everything_is_read_and_nothing_changed(
    client: httpx.AsyncClient, ada: Person, sign_up: SignUp, join: Join, role: str
) -> None:
    await publish(client, ada.headers)
    rule = await make_rule(client, ada.headers)
    someone = await join(ada, await sign_up("vera"), role)
    target = {"rule_id": rule["rule_id"]}
    bodies: dict[str, dict[str, Any]] = {
        f"{TOOLS}/publish": {**MAIL, "description": "Mine."},
        f"{TOOLS}/enable": {"tool_name": "mail.send"},
        f"{TOOLS}/disable": {"tool_name": "mail.send"},
        f"{RULES}/create": RULE,
        f"{RULES}/change": {**RULE, **target},
        f"{RULES}/enable": target,
        f"{RULES}/disable": target,
        f"{RULES}/delete": target,
        f"{RULES}/reorder": {"rule_ids": [rule["rule_id"]]},
    }
    for path, body in bodies.items():
        refused = await client.post(path, json=body, headers=someone)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden"), path
    for path in (f"{TOOLS}/list", f"{TOOLS}/mail.send", f"{RULES}/list", f"{RULES}/{rule['rule_id']}"):
        assert (await client.get(path, headers=someone)).json() == (await client.get(path, headers=ada.headers)).json()


async def test_what_is_of_another_workspace_is_what_does_not_exist(
    client: httpx.AsyncClient, ada: Person, bob: Person
) -> None:
    await publish(client, ada.headers)
    rule_id = (await make_rule(client, ada.headers))["rule_id"]
    for path in (f"{TOOLS}/{{}}", f"{RULES}/{{}}"):
        there, gone = ("mail.send", "mail.gone") if path.startswith(TOOLS + "/") else (rule_id, GONE)
        foreign, missing = [await client.get(path.format(each), headers=bob.headers) for each in (there, gone)]
        assert without_correlation(foreign)[0] == 404
        assert without_correlation(foreign)[1] == without_correlation(missing)[1]
    for verb in ("enable", "disable"):
        answer = await client.post(f"{TOOLS}/{verb}", json={"tool_name": "mail.send"}, headers=bob.headers)
        assert answer.status_code == 404
    for verb in ("enable", "disable", "delete", "change"):
        body = {"rule_id": rule_id, **(RULE if verb == "change" else {})}
        assert (await client.post(f"{RULES}/{verb}", json=body, headers=bob.headers)).status_code == 404
    assert (await check(client, bob.headers))["rule_id"] == "tool.known"
    assert (await publish(client, bob.headers)).json()["tool"]["current_version"] == 1


@pytest.mark.parametrize(
    "said",
    [
        {"tool_name": "Mail"},
        {"tool_name": "mail send"},
        {"tool_name": "../mail"},
        {"tool_name": "list"},
        {"tool_name": "mail\n"},
        {"tool_name": "mail\x00"},
        {"tool_name": "x" * 65},
        {"tool_name": ""},
        {"description": ""},
        {"description": "a\x00b"},
        {"description": "x" * 4_001},
        {"input_schema": None},
        {"input_schema": []},
        {"input_schema": True},
        {"input_schema": "object"},
        {"input_schema": {"type": "objekt"}},
        {"input_schema": {"type": "object", "description": "a\x00b"}},
        {"input_schema": {"type": "object", "description": "x" * 70_000}},
        {"input_schema": {"type": "object", "$ref": "http://127.0.0.1:9/x"}},
        {"input_schema": {"type": "object", "properties": {"a": {"pattern": "("}}}},
        {"input_schema": {"type": "object", "properties": {"a": {"pattern": "a{1000}{1000}{1000}"}}}},
        {"input_schema": {"type": "object", "properties": {"a": {"pattern": "(?=(a+)+)b"}}}},
        {"input_schema": {"type": "object", "allOf": [{"$ref": "#"}]}},
        {"required_role": "system"},
        {"required_scopes": ["item.fly"]},
        {"required_scopes": ["item.read"] * 21},
        {"side_effect": None},
        {"side_effect": "some"},
        {"approval": "when_write"},
        {"execution": "both"},
        {"max_attempts": 0},
        {"max_attempts": 11},
        {"max_attempts": 2**63},
        {"timeout_seconds": 0},
        {"timeout_seconds": 3_601},
        {"fallback_tool": "unknown"},
        {"fallback_tool": "mail.send"},
        {"current_version": 0},
        {"enabled": False},
        {"workspace_id": GONE},
    ],
)
async def test_a_version_that_cannot_be_is_refused(
    client: httpx.AsyncClient, ada: Person, said: dict[str, Any]
) -> None:
    refused = await publish(client, ada.headers, **said)
    assert refused.status_code in {413, 422}, refused.text
    assert len(refused.text) < 5_000
    assert (await client.get(f"{TOOLS}/list", headers=ada.headers)).json()["data"] == []


async def test_a_schema_of_a_megabyte_or_without_end_is_refused(client: httpx.AsyncClient, ada: Person) -> None:
    large = await publish(client, ada.headers, input_schema={"type": "object", "description": "x" * 1_000_000})
    assert large.status_code == 413
    begun = json.dumps({**MAIL, "input_schema": None}).removesuffix("}").replace("null", '{"not":' * 20_000)
    headers = {**ada.headers, "content-type": "application/json"}
    endless = await client.post(f"{TOOLS}/publish", content=begun, headers=headers)
    assert endless.status_code == 422
    nested: dict[str, Any] = {}
    for _ in range(40):
        nested = {"not": nested}
    answer = await publish(client, ada.headers, input_schema={"type": "object", **nested})
    assert (answer.status_code, answer.json()["code"]) == (413, "limit_exceeded")


@pytest.mark.parametrize(
    "said",
    [
        {"effect": "maybe"},
        {"tool_pattern": ""},
        {"tool_pattern": "*.send"},
        {"tool_pattern": "mail.*.send"},
        {"tool_pattern": "mail**"},
        {"tool_pattern": "Mail"},
        {"tool_pattern": "x" * 65},
        {"side_effect": "some"},
        {"below_role": "viewer"},
        {"below_role": "system"},
        {"agent": ""},
        {"agent": "a\x00b"},
        {"reason": ""},
        {"reason": "x" * 501},
        {"position": 0},
        {"position": 2**40},
        {"rule_id": GONE},
    ],
)
async def test_a_rule_that_cannot_be_is_refused(client: httpx.AsyncClient, ada: Person, said: dict[str, Any]) -> None:
    refused = await client.post(f"{RULES}/create", json={**RULE, **said}, headers=ada.headers)
    assert refused.status_code == 422, refused.text
    assert (await client.get(f"{RULES}/list", headers=ada.headers)).json()["data"] == []


@pytest.mark.parametrize("name", ["Mail", "x" * 64, "%00", "a%20b", "%F0%9F%A6%89", "a.b"])
async def test_a_name_of_no_tool_is_not_found(client: httpx.AsyncClient, ada: Person, name: str) -> None:
    assert (await client.get(f"{TOOLS}/{name}", headers=ada.headers)).status_code in {404, 422}


@pytest.mark.parametrize(
    "said",
    [
        {"tool_name": "x" * 65},
        {"tool_name": "a\x00b"},
        {"tool_name": 7},
        {"arguments": []},
        {"arguments": None},
        {"agent": "\x00"},
        {"approval_id": GONE},
    ],
)
async def test_a_call_that_cannot_be_is_not_checked(
    client: httpx.AsyncClient, ada: Person, said: dict[str, Any]
) -> None:
    call = {"tool_name": "mail.send", "arguments": {}, **said}
    assert (await client.post(f"{TOOLS}/check", json=call, headers=ada.headers)).status_code == 422


async def test_arguments_that_nothing_can_hold_are_a_fault_of_theirs(client: httpx.AsyncClient, ada: Person) -> None:
    await publish(client, ada.headers)
    for arguments in ({"to": "a\x00b"}, {"to": "ada", "a\x00b": 1}):
        decided = await check(client, ada.headers, arguments=arguments)
        assert decided["outcome"] == "invalid_arguments"
        assert len(decided["faults"]) == 1
