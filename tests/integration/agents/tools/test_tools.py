"""Tools and rules in a real database: versions that stay, an order that is whole, and decisions about calls."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from tests.integration.agents.tools.conftest import INPUT, MAIL, Workshop

from datalane.agents.tools import deciding, rules, service
from datalane.agents.tools.policy import (
    APPROVAL,
    DEFAULT,
    ENABLED,
    KNOWN,
    ROLE,
    SCOPES,
    Approval,
    Decision,
    Fault,
    InvalidArguments,
    digest_arguments,
    matches,
)
from datalane.agents.tools.schemas import NewToolRule, ToolRuleChange, ToolRuleOrder, ToolToPublish
from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.engine.audit import list_records
from datalane.errors import Conflict, Forbidden, InvalidInput, LimitExceeded, NotFound, StaleVersion
from datalane.kit.ids import uuid7
from datalane.settings import Limits


def said(decided: Decision | InvalidArguments) -> tuple[str, str, int]:
    assert isinstance(decided, Decision), decided
    return decided.outcome, decided.rule_id, decided.rule_version


# Publishing -------------------------------------------------------------------------------------------------------


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


# Fallbacks --------------------------------------------------------------------------------------------------------


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


# Rules ------------------------------------------------------------------------------------------------------------


async def test_rules_are_asked_in_their_order_from_one_on_without_gaps(workshop: Workshop) -> None:
    for reason in ("one", "two", "four"):
        await workshop.rule(reason=reason)
    three = await workshop.rule(reason="three", position=3)
    await workshop.rule(reason="last", position=99)
    first = await workshop.rule(reason="zero", position=1)
    assert (three.position, first.position) == (3, 1)
    assert await workshop.order() == ["zero", "one", "two", "three", "four", "last"]
    async with workshop.database.transaction(workshop.context) as tx:
        gone = await rules.delete_rule(tx, three.rule_id)
        assert (gone.position, gone.enabled, gone.deleted_at is not None) == (None, False, True)
    assert await workshop.order() == ["zero", "one", "two", "four", "last"]
    async with workshop.database.transaction(workshop.context) as tx:
        ids = [rule.rule_id for rule in (await rules.list_rules(tx)).data]
        await rules.reorder_rules(tx, ToolRuleOrder(rule_ids=ids[::-1]))
    assert await workshop.order() == ["last", "four", "two", "one", "zero"]


async def test_an_order_of_other_rules_than_there_are_is_refused(workshop: Workshop) -> None:
    ids = [(await workshop.rule(reason=reason)).rule_id for reason in "ab"]
    foreign = (await workshop.elsewhere().rule()).rule_id
    for wrong in ([], ids[:1], [ids[0], ids[0]], [*ids, foreign], [*ids, ids[0]], [ids[0], foreign]):
        async with workshop.database.transaction(workshop.context) as tx:
            with pytest.raises(Conflict):
                await rules.reorder_rules(tx, ToolRuleOrder(rule_ids=wrong))
    assert await workshop.order() == ["a", "b"]


async def test_rules_that_are_made_and_deleted_at_once_leave_no_gap(workshop: Workshop) -> None:
    made = await asyncio.gather(*(workshop.rule(reason=str(number), position=1) for number in range(6)))

    async def delete(rule_id: UUID) -> None:
        async with workshop.database.transaction(workshop.context) as tx:
            await rules.delete_rule(tx, rule_id)

    await asyncio.gather(*(delete(rule.rule_id) for rule in made[::2]), *(workshop.rule(reason="x") for _ in range(3)))
    assert len(await workshop.order()) == 6


async def test_a_change_is_another_version_and_what_was_said_stays(workshop: Workshop) -> None:
    rule = await workshop.rule()
    change = ToolRuleChange(
        rule_id=rule.rule_id, effect="escalate", tool_pattern="*", below_role="admin", reason="look"
    )
    async with workshop.database.transaction(workshop.context) as tx:
        changed = await rules.change_rule(tx, change)
        assert (changed.current_version, changed.effect, changed.below_role) == (2, "escalate", "admin")
        assert await rules.change_rule(tx, change) == changed
        with pytest.raises(StaleVersion):
            await rules.change_rule(tx, change.model_copy(update={"current_version": 1, "reason": "other"}))
        await rules.delete_rule(tx, rule.rule_id)
        kept = await rules.get_rule(tx, rule.rule_id)
    assert [(each.version, each.effect, each.reason) for each in kept.versions] == [
        (2, "escalate", "look"),
        (1, "deny", "no mail today"),
    ]


async def test_a_deleted_rule_is_not_there_to_be_changed(workshop: Workshop) -> None:
    rule = await workshop.rule()
    async with workshop.database.transaction(workshop.context) as tx:
        await rules.delete_rule(tx, rule.rule_id)
    for step in (rules.enable_rule, rules.disable_rule, rules.delete_rule):
        async with workshop.database.transaction(workshop.context) as tx:
            with pytest.raises(NotFound):
                await step(tx, rule.rule_id)


async def test_each_change_leaves_a_record(workshop: Workshop) -> None:
    await workshop.publish()
    await workshop.publish(description="Another.")
    await workshop.publish(description="Another.")
    rule = await workshop.rule()
    other = await workshop.rule(reason="other")
    async with workshop.database.transaction(workshop.context) as tx:
        await service.disable_tool(tx, "mail.send", "an incident")
        await service.disable_tool(tx, "mail.send")
        await service.enable_tool(tx, "mail.send")
        await rules.disable_rule(tx, rule.rule_id, "not today")
        await rules.enable_rule(tx, rule.rule_id)
        await rules.change_rule(
            tx, ToolRuleChange(rule_id=rule.rule_id, effect="allow", tool_pattern="*", reason="fine")
        )
        await rules.reorder_rules(tx, ToolRuleOrder(rule_ids=[other.rule_id, rule.rule_id]))
        await rules.delete_rule(tx, rule.rule_id)
        records = await list_records(tx, most=100)
    assert [record.action for record in reversed(records)] == [
        "agent_tool.created",
        "agent_tool.published",
        "agent_tool_rule.created",
        "agent_tool_rule.created",
        "agent_tool.disabled",
        "agent_tool.enabled",
        "agent_tool_rule.disabled",
        "agent_tool_rule.enabled",
        "agent_tool_rule.changed",
        "agent_tool_rule.reordered",
        "agent_tool_rule.deleted",
    ]
    assert all(record.correlation_id == workshop.context.correlation_id for record in records)


# Deciding ---------------------------------------------------------------------------------------------------------


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
    big = await workshop.decide(arguments={"to": "x" * 70_000})
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

    call = deciding.ToolCall("mail.send", {"lax": 1})
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
    assert "circle" in decided.faults[0].message


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


# The wall ---------------------------------------------------------------------------------------------------------


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
