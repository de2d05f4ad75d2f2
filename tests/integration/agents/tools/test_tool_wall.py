"""Tools and rules belong to one workspace, and its admins write them."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest
from tests.integration.agents.tools.conftest import MAIL, Workshop, said

from datalane.agents.tools import rules, service
from datalane.agents.tools.policy import (
    DEFAULT,
    KNOWN,
)
from datalane.agents.tools.schemas import ToolToPublish
from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.errors import Forbidden, InvalidInput, NotFound
from datalane.kit.ids import uuid7


async def test_tools_and_rules_of_another_workspace_are_not_there(workshop: Workshop) -> None:
    await workshop.publish()
    rule = await workshop.rule()
    other = workshop.elsewhere()
    assert said(await other.decide()) == ("blocked_policy", KNOWN, 0)
    assert await other.order() == []
    async with other.database.transaction(other.context) as tx:
        for step in (service.get_tool, service.enable_tool, service.disable_tool):
            with pytest.raises(NotFound):
                await step(tx, "mail.send")
        for ask in (rules.get_rule, rules.enable_rule, rules.disable_rule, rules.delete_rule):
            with pytest.raises(NotFound):
                await ask(tx, rule.rule_id)
        with pytest.raises(InvalidInput, match="is there"):
            await service.publish_tool(tx, ToolToPublish(**{**MAIL, "tool_name": "own", "fallback_tool": "mail.send"}))
    assert (await other.publish()).tool.current_version == 1
    assert said(await other.decide()) == ("authorized", DEFAULT, 1)
    assert said(await workshop.decide()) == ("blocked_policy", str(rule.rule_id), 1)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER])
async def test_below_an_admin_nothing_is_published_or_ruled(workshop: Workshop, role: Role) -> None:
    await workshop.publish()
    rule = await workshop.rule()
    low = Workshop(workshop.database, Context(workshop.context.workspace_id, uuid7(), role))
    for attempt in (low.publish(description="Mine."), low.rule()):
        with pytest.raises(Forbidden):
            await attempt
    statements = [
        "UPDATE datalane.agent_tools SET enabled = false",
        "UPDATE datalane.agent_tool_rules SET enabled = false",
        "DELETE FROM datalane.agent_tool_rules",
    ]
    for statement in statements:
        async with low.database.transaction(low.context) as tx:
            assert (await tx.execute(statement)).endswith(" 0")
    inserts = [
        "INSERT INTO datalane.agent_tools SELECT workspace_id, 'mine', enabled, disabled_reason, current_version, "
        "created_at, updated_at, created_by_actor_id, updated_by_actor_id FROM datalane.agent_tools",
        "INSERT INTO datalane.agent_tool_rules SELECT workspace_id, gen_random_uuid(), position, enabled, "
        "disabled_reason, current_version, created_at, updated_at, deleted_at, created_by_actor_id, "
        "updated_by_actor_id FROM datalane.agent_tool_rules",
        "INSERT INTO datalane.agent_tool_rule_versions SELECT workspace_id, rule_id, 2, 'allow', tool_pattern, "
        "side_effect, below_role, agent, reason, published_at, published_by_actor_id "
        "FROM datalane.agent_tool_rule_versions",
    ]
    for statement in inserts:
        with pytest.raises(Forbidden):
            async with low.database.transaction(low.context) as tx:
                await tx.execute(statement)
    assert said(await workshop.decide(role=Role.ADMIN)) == ("blocked_policy", str(rule.rule_id), 1)


async def test_nobody_makes_an_admin_of_themselves_by_a_scoped_key(database: Database) -> None:
    context = Context(uuid7(), uuid7(), Role.OWNER, scopes=frozenset({"agent_tool.read"}))
    low = Workshop(database, context)
    for attempt in (low.publish(), low.rule()):
        with pytest.raises(Forbidden, match="scopes leave this out"):
            await attempt
    only_tools = Workshop(database, Context(uuid7(), uuid7(), Role.ADMIN, scopes=frozenset({"agent_tool.manage"})))
    assert (await only_tools.publish()).created


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("agent_tools", "tool_name", "Mail"),
        ("agent_tools", "tool_name", "x" * 65),
        ("agent_tools", "tool_name", "a\nb"),
        ("agent_tool_rule_versions", "tool_pattern", "*mail"),
        ("agent_tool_rule_versions", "tool_pattern", "a*b"),
        ("agent_tool_rule_versions", "effect", "maybe"),
        ("agent_tool_rule_versions", "below_role", "viewer"),
        ("agent_tool_versions", "side_effect", "some"),
        ("agent_tool_versions", "max_attempts", 11),
    ],
)
async def test_the_database_knows_what_may_be_said(workshop: Workshop, table: str, column: str, value: Any) -> None:
    await workshop.publish()
    await workshop.rule()
    rows = await workshop.rows(
        "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 ORDER BY attnum",
        f"datalane.{table}",
    )
    columns = [row[0] for row in rows]
    values = ["$1" if each == column else "9" if each == "version" else each for each in columns]
    statement = f"INSERT INTO datalane.{table} ({', '.join(columns)}) SELECT {', '.join(values)} FROM datalane.{table}"
    with pytest.raises(asyncpg.CheckViolationError):
        async with workshop.database.transaction(workshop.context) as tx:
            await tx.execute(statement, value)
