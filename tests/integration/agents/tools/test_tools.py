"""Tools in a real database: versions that stay, and fallbacks that lead nowhere in a circle."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.integration.agents.tools.conftest import INPUT, MAIL, Workshop

from datalane.agents.tools import deciding, rules, service
from datalane.agents.tools.schemas import NewToolRule, ToolToPublish
from datalane.contracts.context import Context, Role
from datalane.errors import Forbidden, InvalidInput, LimitExceeded, NotFound, StaleVersion
from datalane.kit.ids import uuid7
from datalane.settings import Limits

pytestmark = pytest.mark.one_database


async def test_the_same_content_again_is_no_other_version(workshop: Workshop) -> None:
    first = await workshop.publish()
    again = await workshop.publish(input_schema=dict(reversed(INPUT.items())))
    assert (first.created, again.created, again.tool) == (True, False, first.tool)
    second = await workshop.publish(description="Sends a letter by night.", current_version=1)
    assert (second.created, second.tool.current_version) == (True, 2)
    third = await workshop.publish()
    assert (third.created, third.tool.current_version) == (True, 3)
    async with workshop.database.transaction(workshop.context) as tx:
        tool = await service.get_tool(tx, "mail.send")
    assert [(each.version, each.description) for each in tool.versions] == [
        (3, "Sends a letter."),
        (2, "Sends a letter by night."),
        (1, "Sends a letter."),
    ]


async def test_whoever_saw_another_version_is_told_the_current_one(workshop: Workshop) -> None:
    with pytest.raises(NotFound):
        await workshop.publish(current_version=1)
    await workshop.publish()
    with pytest.raises(StaleVersion) as stale:
        await workshop.publish(current_version=2, description="Something else.")
    assert stale.value.told["current"]["current_version"] == 1


async def test_of_two_that_publish_at_once_both_are_a_version(workshop: Workshop) -> None:
    made = await asyncio.gather(*(workshop.publish(description=f"Number {number}.") for number in range(8)))
    assert sorted(each.tool.current_version for each in made) == list(range(1, 9))
    same = await asyncio.gather(*(workshop.publish(description="The last one.") for _ in range(8)))
    assert sorted(each.created for each in same) == [False] * 7 + [True]


async def test_a_version_is_not_changed_and_not_removed_by_anybody(workshop: Workshop) -> None:
    await workshop.publish()
    rule = await workshop.rule()
    for table in ("agent_tool_versions", "agent_tool_rule_versions"):
        for statement in (f"UPDATE datalane.{table} SET version = 9", f"DELETE FROM datalane.{table}"):
            for role in (Role.ADMIN, Role.OWNER, Role.SYSTEM):
                with pytest.raises(Forbidden):
                    async with workshop.database.transaction(
                        Context(workshop.context.workspace_id, uuid7(), role)
                    ) as tx:
                        await tx.execute(statement)
    assert await workshop.rows("SELECT version FROM datalane.agent_tool_versions") == [(1,)]
    assert rule.current_version == 1


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"input_schema": {"type": "string"}}, "invalid_schema"),
        ({"input_schema": {}}, "invalid_schema"),
        ({"input_schema": {"type": "object", "properties": 7}}, "invalid_schema"),
        ({"output_schema": {"type": "thing"}}, "invalid_schema"),
        ({"output_schema": {"$ref": "http://127.0.0.1:9/x"}}, "invalid_schema"),
        ({"required_scopes": ["item.create", "item.fly"]}, "unknown_scope"),
        ({"required_scopes": ["*"]}, "unknown_scope"),
        ({"fallback_tool": "mail.send"}, "fallback_leads_back"),
        ({"fallback_tool": "unknown"}, "unknown_fallback"),
    ],
)
async def test_a_version_that_cannot_be_is_not_published(workshop: Workshop, said: dict[str, Any], code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await workshop.publish(**said)
    assert [fault["code"] for fault in refused.value.errors] == [code]
    assert refused.value.errors[0]["field"].startswith(f"body.{next(iter(said))}")
    assert await workshop.rows("SELECT tool_name FROM datalane.agent_tools") == []


async def test_there_are_no_more_tools_and_rules_than_the_limits(workshop: Workshop) -> None:
    few = Limits(tools=1, tool_rules=1)
    await workshop.publish()
    await workshop.rule()
    async with workshop.database.transaction(workshop.context) as tx:
        tx.limits = few
        with pytest.raises(LimitExceeded, match=r"limits\.tools\)"):
            await service.publish_tool(tx, ToolToPublish(**{**MAIL, "tool_name": "another"}))
        assert not (await service.publish_tool(tx, ToolToPublish(**MAIL))).created
        with pytest.raises(LimitExceeded, match=r"limits\.tool_rules"):
            await rules.create_rule(tx, NewToolRule(effect="deny", tool_pattern="*", reason="x"))


async def test_a_fallback_that_leads_back_is_refused_also_by_a_detour(workshop: Workshop) -> None:
    await workshop.publish(tool_name="c")
    await workshop.publish(tool_name="b", fallback_tool="c")
    await workshop.publish(tool_name="a", fallback_tool="b")
    for name, fallback in (("c", "a"), ("c", "b"), ("b", "a")):
        with pytest.raises(InvalidInput, match="lead back"):
            await workshop.publish(tool_name=name, fallback_tool=fallback)
    await workshop.publish(tool_name="b")
    await workshop.publish(tool_name="c", fallback_tool="a")


async def test_of_two_that_close_a_circle_at_once_one_is_refused(workshop: Workshop) -> None:
    for name in ("a", "b"):
        await workshop.publish(tool_name=name)
    outcomes = await asyncio.gather(
        workshop.publish(tool_name="a", fallback_tool="b"),
        workshop.publish(tool_name="b", fallback_tool="a"),
        return_exceptions=True,
    )
    assert sorted(isinstance(each, InvalidInput) for each in outcomes) == [False, True], outcomes


async def test_after_a_failure_the_next_enabled_tool_of_the_chain_is_tried(workshop: Workshop) -> None:
    await workshop.publish(tool_name="c", max_attempts=1)
    await workshop.publish(tool_name="b", fallback_tool="c")
    await workshop.publish(tool_name="a", fallback_tool="b")
    await workshop.publish(tool_name="a", description="Leads nowhere now.")

    async def following(name: str, version: int, *tried: str) -> str | None:
        async with workshop.database.transaction(workshop.context) as tx:
            found = await deciding.read_fallback(tx, name, version, tried)
        return None if found is None else f"{found.terms.tool_name} {found.max_attempts}"

    assert await following("a", 1) == "b 3"
    assert await following("a", 2) is None
    assert await following("b", 1) == "c 1"
    assert await following("c", 1) is None
    assert await following("a", 1, "b") == "c 1"
    assert await following("a", 1, "b", "c") is None
    async with workshop.database.transaction(workshop.context) as tx:
        await service.disable_tool(tx, "b")
    assert await following("a", 1) == "c 1"
    for name, version in (("a", 3), ("unknown", 1)):
        with pytest.raises(NotFound):
            await following(name, version)


async def test_a_circle_that_was_written_past_the_service_ends(workshop: Workshop) -> None:
    await workshop.publish(tool_name="b")
    await workshop.publish(tool_name="a", fallback_tool="b")
    async with workshop.database.transaction(workshop.context) as tx:
        await tx.execute(
            "INSERT INTO datalane.agent_tool_versions (workspace_id, tool_name, version, description, input_schema, "
            "required_role, required_scopes, side_effect, approval, execution, max_attempts, timeout_seconds, "
            "fallback_tool, content_sha256, published_at, published_by_actor_id) "
            "SELECT workspace_id, tool_name, 2, description, input_schema, required_role, required_scopes, "
            "side_effect, approval, execution, max_attempts, timeout_seconds, 'a', content_sha256, published_at, "
            "published_by_actor_id FROM datalane.agent_tool_versions WHERE tool_name = 'b'"
        )
        await tx.execute("UPDATE datalane.agent_tools SET current_version = 2 WHERE tool_name = 'b'")
        assert await deciding.read_fallback(tx, "a", 1, ["b"]) is None
        found = await deciding.read_fallback(tx, "b", 2)
    assert found is not None
    assert found.terms.tool_name == "a"
