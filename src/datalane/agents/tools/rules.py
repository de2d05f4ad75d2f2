"""Rules of a workspace about calls of tools: their versions, their order, enabled or not.

Whoever changes one waits for the other: the order is whole, from 1 on without gaps. What a rule says stands in versions
that never change; its place, and whether it is asked, do not.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from datalane.agents.permissions import MANAGE_TOOL_RULES, READ_TOOLS
from datalane.agents.tools.schemas import (
    NewToolRule,
    ToolRule,
    ToolRuleChange,
    ToolRuleContent,
    ToolRuleList,
    ToolRuleOrder,
    ToolRuleVersion,
    ToolRuleWithVersions,
)
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.audit import record
from datalane.errors import Conflict, LimitExceeded, NotFound, StaleVersion
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7

_CONTENT = set(ToolRuleContent.model_fields)

_queries = load_queries(__file__, "rules.sql")


async def create_rule(tx: Transaction, new: NewToolRule, now: datetime | None = None) -> ToolRule:
    """A rule with its first version, before those that stand at its place. Raises `LimitExceeded` for one too many."""
    tx, order = await _begin(tx)
    if len(order) >= tx.limits.tool_rules:
        raise LimitExceeded(f"the workspace has {tx.limits.tool_rules} rules about tools (limits.tool_rules)")
    rule_id, at = uuid7(), now or utc_now()
    place = len(order) + 1 if new.position is None else min(new.position, len(order) + 1)
    await _queries.add_rule(
        tx.connection,
        workspace_id=tx.workspace_id,
        rule_id=rule_id,
        position=place,
        enabled=new.enabled,
        now=at,
        actor_id=tx.context.actor_id,
    )
    await _add_version(tx, rule_id, 1, new, at)
    await _place(tx, [*order[: place - 1], rule_id, *order[place - 1 :]])
    said = {"version": 1, "position": place, "enabled": new.enabled, **_content(new)}
    await record(tx, "agent_tool_rule.created", "agent_tool_rule", rule_id, after=said)
    return await _read(tx, rule_id)


async def change_rule(tx: Transaction, change: ToolRuleChange, now: datetime | None = None) -> ToolRule:
    """All that the rule says from the commit on, as another version; the same as before makes none.

    Raises `NotFound`, and `StaleVersion` when another version came meanwhile.
    """
    tx, order = await _begin(tx)
    current = await _standing(tx, order, change.rule_id)
    if change.current_version not in (None, current.current_version):
        said = {"current": current.model_dump(mode="json")}
        raise StaleVersion(f"the rule is at version {current.current_version}", said)
    before, after = current.model_dump(include=_CONTENT), _content(change)
    if before == after:
        return current
    at, number = now or utc_now(), current.current_version + 1
    await _add_version(tx, change.rule_id, number, change, at)
    await _queries.set_version(
        tx.connection,
        workspace_id=tx.workspace_id,
        rule_id=change.rule_id,
        version=number,
        now=at,
        actor_id=tx.context.actor_id,
    )
    await record(
        tx,
        "agent_tool_rule.changed",
        "agent_tool_rule",
        change.rule_id,
        before={"version": number - 1, **before},
        after={"version": number, **after},
    )
    return await _read(tx, change.rule_id)


async def enable_rule(tx: Transaction, rule_id: UUID, now: datetime | None = None) -> ToolRule:
    """Ask it of calls from the commit on. Raises `NotFound`."""
    return await _set_enabled(tx, rule_id, True, None, now)


async def disable_rule(
    tx: Transaction, rule_id: UUID, reason: str | None = None, now: datetime | None = None
) -> ToolRule:
    """Ask it no more, and keep its place. Raises `NotFound`."""
    return await _set_enabled(tx, rule_id, False, reason, now)


async def delete_rule(tx: Transaction, rule_id: UUID, now: datetime | None = None) -> ToolRule:
    """Take it out of the order for good; what it said stays readable by its id. Raises `NotFound`."""
    tx, order = await _begin(tx)
    rule = await _standing(tx, order, rule_id)
    await _queries.delete_rule(
        tx.connection,
        workspace_id=tx.workspace_id,
        rule_id=rule_id,
        now=now or utc_now(),
        actor_id=tx.context.actor_id,
    )
    await _place(tx, [each for each in order if each != rule_id])
    said = {"version": rule.current_version, "position": rule.position, "enabled": rule.enabled}
    await record(tx, "agent_tool_rule.deleted", "agent_tool_rule", rule_id, before=said)
    return await _read(tx, rule_id)


async def reorder_rules(tx: Transaction, wanted: ToolRuleOrder) -> ToolRuleList:
    """Ask the rules in this order from the commit on. Raises `Conflict` when those are not the rules that are there."""
    tx, order = await _begin(tx)
    if sorted(wanted.rule_ids) != sorted(order):
        raise Conflict("those are not all rules that are there, each once; look again")
    if wanted.rule_ids != order:
        await _place(tx, wanted.rule_ids)
        before, after = [[str(each) for each in ids] for ids in (order, wanted.rule_ids)]
        await record(
            tx,
            "agent_tool_rule.reordered",
            "agent_tool_rule",
            None,
            before={"rule_ids": before},
            after={"rule_ids": after},
        )
    return await _list(tx)


async def get_rule(tx: Transaction, rule_id: UUID) -> ToolRuleWithVersions:
    """Also one that was deleted. Raises `NotFound`."""
    READ_TOOLS.check(tx.context)
    rule = await _read(tx, rule_id)
    rows = await _queries.list_versions(
        tx.connection, workspace_id=tx.workspace_id, rule_id=rule_id, most=tx.limits.page_size
    )
    return ToolRuleWithVersions(**rule.model_dump(), versions=[ToolRuleVersion(**row) for row in rows])


async def list_rules(tx: Transaction) -> ToolRuleList:
    """The rules that are there, in the order in which they are asked."""
    READ_TOOLS.check(tx.context)
    return await _list(tx)


async def _begin(tx: Transaction) -> tuple[Transaction, list[UUID]]:
    """The order of the rules, which nobody else changes until the transaction ends."""
    MANAGE_TOOL_RULES.check(tx.context)
    tx = tx.following()
    await _queries.lock_rules(tx.connection, workspace_id=tx.workspace_id)
    rows = await _queries.read_order(tx.connection, workspace_id=tx.workspace_id)
    return tx, [row["rule_id"] for row in rows]


async def _standing(tx: Transaction, order: list[UUID], rule_id: UUID) -> ToolRule:
    """A rule that was not deleted."""
    if rule_id not in order:
        raise NotFound("no such rule")
    return await _read(tx, rule_id)


async def _place(tx: Transaction, order: list[UUID]) -> None:
    await _queries.place_rules(tx.connection, workspace_id=tx.workspace_id, rule_ids=order)


async def _add_version(tx: Transaction, rule_id: UUID, number: int, said: ToolRuleContent, at: datetime) -> None:
    await _queries.add_version(
        tx.connection,
        workspace_id=tx.workspace_id,
        rule_id=rule_id,
        version=number,
        now=at,
        actor_id=tx.context.actor_id,
        **_content(said),
    )


async def _set_enabled(
    tx: Transaction, rule_id: UUID, enabled: bool, reason: str | None, now: datetime | None
) -> ToolRule:
    tx, order = await _begin(tx)
    rule = await _standing(tx, order, rule_id)
    if rule.enabled is not enabled:
        await _queries.set_enabled(
            tx.connection,
            workspace_id=tx.workspace_id,
            rule_id=rule_id,
            enabled=enabled,
            reason=reason,
            now=now or utc_now(),
            actor_id=tx.context.actor_id,
        )
        what, after = ("enabled", None) if enabled else ("disabled", {"reason": reason})
        await record(tx, f"agent_tool_rule.{what}", "agent_tool_rule", rule_id, after=after)
    return await _read(tx, rule_id)


async def _read(tx: Transaction, rule_id: UUID) -> ToolRule:
    row = await _queries.get_rule(tx.connection, workspace_id=tx.workspace_id, rule_id=rule_id)
    if row is None:
        raise NotFound("no such rule")
    return ToolRule(**row)


async def _list(tx: Transaction) -> ToolRuleList:
    rows = await _queries.list_rules(tx.connection, workspace_id=tx.workspace_id)
    return ToolRuleList(data=[ToolRule(**row) for row in rows])


def _content(said: ToolRuleContent) -> dict[str, Any]:
    return said.model_dump(include=_CONTENT)
