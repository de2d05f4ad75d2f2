"""Rules about tools: an order that is whole, and versions that stay."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from tests.integration.agents.tools.conftest import Workshop

from datalane.agents.tools import rules, service
from datalane.agents.tools.schemas import ToolRuleChange, ToolRuleOrder
from datalane.engine.audit import list_records
from datalane.errors import Conflict, NotFound, StaleVersion

pytestmark = pytest.mark.one_database


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
