"""Calls are decided by what the database holds when they are asked for."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import asyncpg
import pytest
from tests.integration.agents.tools.conftest import MAIL, Workshop, said

from datalane.agents.tools import deciding, rules, service
from datalane.agents.tools.policy import (
    APPROVAL,
    DEFAULT,
    ENABLED,
    KNOWN,
    ROLE,
    SCOPES,
    Approval,
    InvalidArguments,
    digest_arguments,
    matches,
)
from datalane.agents.tools.schemas import ToolRuleChange, ToolToPublish
from datalane.contracts.conformance import Fault
from datalane.contracts.context import Role
from datalane.errors import NotFound
from datalane.kit.ids import uuid7

pytestmark = pytest.mark.one_database


async def test_a_call_is_decided_by_the_tool_and_the_enabled_rules(workshop: Workshop) -> None:
    assert said(await workshop.decide()) == ("blocked_policy", KNOWN, 0)
    await workshop.publish(required_scopes=["item.create"])
    assert said(await workshop.decide()) == ("authorized", DEFAULT, 1)
    assert said(await workshop.decide(role=Role.VIEWER)) == ("blocked_policy", ROLE, 1)
    assert said(await workshop.decide(scopes=frozenset({"item.read"}))) == ("blocked_policy", SCOPES, 1)
    assert said(await workshop.decide(scopes=frozenset({"item.*"}))) == ("authorized", DEFAULT, 1)
    allow = await workshop.rule(effect="allow", below_role="admin")
    deny = await workshop.rule()
    assert said(await workshop.decide()) == ("authorized", str(allow.rule_id), 1)
    assert said(await workshop.decide(role=Role.ADMIN)) == ("blocked_policy", str(deny.rule_id), 1)
    async with workshop.database.transaction(workshop.context) as tx:
        await rules.change_rule(
            tx, ToolRuleChange(rule_id=allow.rule_id, effect="escalate", tool_pattern="mail.send", reason="ask")
        )
    assert said(await workshop.decide(role=Role.ADMIN)) == ("escalated", str(allow.rule_id), 2)
    async with workshop.database.transaction(workshop.context) as tx:
        await rules.disable_rule(tx, allow.rule_id)
    assert said(await workshop.decide()) == ("blocked_policy", str(deny.rule_id), 1)
    async with workshop.database.transaction(workshop.context) as tx:
        await rules.delete_rule(tx, deny.rule_id)
    assert said(await workshop.decide()) == ("authorized", DEFAULT, 1)
    async with workshop.database.transaction(workshop.context) as tx:
        await service.disable_tool(tx, "mail.send")
    assert said(await workshop.decide(arguments={"wrong": 1})) == ("blocked_policy", ENABLED, 1)


async def test_arguments_that_do_not_fit_name_what_is_wrong(workshop: Workshop) -> None:
    await workshop.publish()
    await workshop.rule()
    decided = await workshop.decide(arguments={"copies": 9}, role=Role.VIEWER)
    assert isinstance(decided, InvalidArguments)
    assert {fault.field for fault in decided.faults} == {"", "copies"}
    big = await workshop.decide(arguments={"to": "x" * 2**20})
    assert isinstance(big, InvalidArguments)
    assert "over the limit" in big.faults[0].message


async def test_an_approval_is_of_the_arguments_and_of_the_version(workshop: Workshop) -> None:
    await workshop.publish(approval="for_writes")
    approval = Approval(uuid7(), "mail.send", 1, digest_arguments({"copies": 1, "to": "ada"}))
    assert said(await workshop.decide()) == ("escalated", APPROVAL, 1)
    fitting = {"to": "ada", "copies": 1}
    assert said(await workshop.decide(arguments=fitting, approval=approval)) == ("authorized", APPROVAL, 1)
    assert said(await workshop.decide(arguments={**fitting, "copies": 2}, approval=approval)) == (
        "escalated",
        APPROVAL,
        1,
    )
    await workshop.publish(approval="for_writes", description="Another.")
    assert said(await workshop.decide(arguments=fitting, approval=approval)) == ("escalated", APPROVAL, 2)


async def test_output_is_checked_against_the_version_that_was_called(workshop: Workshop) -> None:
    await workshop.publish(output_schema={"type": "object", "required": ["id"]})
    await workshop.publish(output_schema=None)
    async with workshop.database.transaction(workshop.context) as tx:
        assert await deciding.check_output(tx, "mail.send", 1, {"id": 7}) == ()
        assert await deciding.check_output(tx, "mail.send", 1, {}) == (Fault("", '"id" is a required property'),)
        assert len(await deciding.check_output(tx, "mail.send", 1, "text")) == 1
        assert await deciding.check_output(tx, "mail.send", 2, {}) == ()
        for name, version in (("mail.send", 3), ("unknown", 1)):
            with pytest.raises(NotFound):
                await deciding.check_output(tx, name, version, {})


async def test_a_version_that_was_rolled_back_is_not_remembered(workshop: Workshop) -> None:
    class Undone(Exception):
        pass

    call = deciding.ToolCall({"lax": 1})
    with suppress(Undone):
        async with workshop.database.transaction(workshop.context) as tx:
            await service.publish_tool(tx, ToolToPublish(**{**MAIL, "input_schema": {"type": "object"}}))
            found = await deciding.read_for_decision(tx, "mail.send")
            assert said(deciding.decide_call(tx, found, call)) == ("authorized", DEFAULT, 1)
            raise Undone
    await workshop.publish()
    assert isinstance(await workshop.decide(arguments={"lax": 1}), InvalidArguments)


async def test_a_schema_that_was_written_past_the_service_lets_nothing_through(workshop: Workshop) -> None:
    await workshop.publish()
    async with workshop.database.transaction(workshop.context) as tx:
        await tx.execute(
            "INSERT INTO datalane.agent_tool_versions (workspace_id, tool_name, version, description, input_schema, "
            "required_role, required_scopes, side_effect, approval, execution, max_attempts, timeout_seconds, "
            "content_sha256, published_at, published_by_actor_id) "
            "SELECT workspace_id, tool_name, 2, description, $1, required_role, required_scopes, side_effect, "
            "approval, execution, max_attempts, timeout_seconds, content_sha256, published_at, published_by_actor_id "
            "FROM datalane.agent_tool_versions",
            {"$ref": "#"},
        )
        await tx.execute("UPDATE datalane.agent_tools SET current_version = 2")
    decided = await workshop.decide()
    assert isinstance(decided, InvalidArguments)
    assert "leads back to itself" in decided.faults[0].message


async def test_the_database_reads_the_rules_whose_pattern_fits_as_the_policy_says(workshop: Workshop) -> None:
    patterns = ["*", "m*", "m.*", "m_*", "m.a", "m_a", "m.a*", "m.ab", "mxa", "m-*"]
    for pattern in patterns:
        await workshop.rule(tool_pattern=pattern, reason=pattern)
    for name in ("m", "m.a", "m_a", "m.ab", "mxa", "n"):
        await workshop.publish(tool_name=name)
        async with workshop.database.transaction(workshop.context) as tx:
            found = await deciding.read_for_decision(tx, name)
        assert found is not None
        assert [rule.tool_pattern for rule in found.rules] == [each for each in patterns if matches(each, name)]


async def test_a_decision_reads_everything_in_one_statement_by_indexes(workshop: Workshop) -> None:
    for number in range(30):
        await workshop.publish(tool_name=f"tool{number}")
        await workshop.rule(tool_pattern="tool*", reason="x")
    statement, sent = deciding._queries.read_for_decision.sql, list[str]()

    def saw(query: asyncpg.connection.LoggedQuery) -> None:
        sent.append(query.query)

    async with workshop.database.transaction(workshop.context) as tx:
        tx.connection.add_query_logger(saw)
        found = await deciding.read_for_decision(tx, "tool7")
        await asyncio.sleep(0)  # the driver tells its loggers in the next turn of the loop
        tx.connection.remove_query_logger(saw)
        assert found is not None
        assert len(found.rules) == 30
        await tx.execute("SET LOCAL enable_seqscan = off")
        plan = "\n".join(row[0] for row in await tx.fetch(f"EXPLAIN {statement}", tx.workspace_id, "tool7"))
    assert len(sent) == 1
    assert "Seq Scan" not in plan, plan
    for index in ("agent_tools_pkey", "agent_tool_versions_pkey", "agent_tool_rules_in_order"):
        assert index in plan, plan
