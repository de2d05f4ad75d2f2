"""Routes of tools and of the rules about them."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query

from datalane.agents.permissions import MANAGE_TOOL_RULES, MANAGE_TOOLS, READ_TOOLS
from datalane.agents.tools import built_in, deciding, rules, service
from datalane.agents.tools.schemas import (
    BuiltInTools,
    BuiltInToPublish,
    NewToolRule,
    PublishedTool,
    Tool,
    ToolCheck,
    ToolCheckResult,
    ToolPage,
    ToolRule,
    ToolRuleChange,
    ToolRuleList,
    ToolRuleOrder,
    ToolRuleTarget,
    ToolRuleToDisable,
    ToolRuleWithVersions,
    ToolTarget,
    ToolToDisable,
    ToolToPublish,
    ToolWithVersions,
)
from datalane.contracts.context import Context
from datalane.contracts.http import Door
from datalane.contracts.storable import Text
from datalane.db.transaction import Transaction
from datalane.engine.tools import Tools

Named = Annotated[Text, Path(max_length=64)]


def router(door: Door, tools: Tools) -> APIRouter:
    routes = door.router(prefix="/agents", tags=["agents"])
    _add_tool_routes(routes, door)
    _add_built_in(routes, door, tools)
    _add_rule_routes(routes, door)
    return routes


def _add_tool_routes(routes: APIRouter, door: Door) -> None:
    limits = door.settings.limits
    size = Query(min(25, limits.page_size), ge=1, le=limits.page_size)

    @routes.post("/tools/publish")
    async def publish(body: ToolToPublish, tx: Transaction = door.writer(MANAGE_TOOLS)) -> PublishedTool:
        """Publish a tool, or another version of one, for calls that come from now on."""
        return await service.publish_tool(tx, body)

    @routes.post("/tools/enable")
    async def enable(body: ToolTarget, tx: Transaction = door.writer(MANAGE_TOOLS)) -> Tool:
        """Let the tool be called."""
        return await service.enable_tool(tx, body.tool_name)

    @routes.post("/tools/disable")
    async def disable(body: ToolToDisable, tx: Transaction = door.writer(MANAGE_TOOLS)) -> Tool:
        """Let the tool be called no more."""
        return await service.disable_tool(tx, body.tool_name, body.reason)

    @routes.post("/tools/check")
    async def check(body: ToolCheck, context: Context = door.caller(READ_TOOLS)) -> ToolCheckResult:
        """What would become of a call with these arguments, asked for by you; nothing is called."""
        async with door.transaction(context) as tx:
            return await deciding.check_call(tx, body)

    @routes.get("/tools/list")
    async def list_tools(
        page_size: int = size, cursor: str | None = None, tx: Transaction = door.reader(READ_TOOLS)
    ) -> ToolPage:
        """Tools as their current versions say them, by name; without their schemas."""
        return await service.list_tools(tx, cursor, page_size)

    @routes.get("/tools/{tool_name}")
    async def get_tool(tool_name: Named, tx: Transaction = door.reader(READ_TOOLS)) -> ToolWithVersions:
        """One tool with its versions."""
        return await service.get_tool(tx, tool_name)


def _add_built_in(routes: APIRouter, door: Door, tools: Tools) -> None:
    @routes.post("/tools/publish-built-in")
    async def publish_built_in(body: BuiltInToPublish, tx: Transaction = door.writer(MANAGE_TOOLS)) -> BuiltInTools:
        """Publish the tools that come with the lane, those that are not there yet or all of them anew."""
        return await built_in.publish_built_in(tx, tools, body.renew)


def _add_rule_routes(routes: APIRouter, door: Door) -> None:
    @routes.post("/tool-rules/create", status_code=201)
    async def create(body: NewToolRule, tx: Transaction = door.writer(MANAGE_TOOL_RULES)) -> ToolRule:
        """Make a rule about calls of tools."""
        return await rules.create_rule(tx, body)

    @routes.post("/tool-rules/change")
    async def change(body: ToolRuleChange, tx: Transaction = door.writer(MANAGE_TOOL_RULES)) -> ToolRule:
        """Say anew all that a rule says, as another version."""
        return await rules.change_rule(tx, body)

    @routes.post("/tool-rules/enable")
    async def enable_rule(body: ToolRuleTarget, tx: Transaction = door.writer(MANAGE_TOOL_RULES)) -> ToolRule:
        """Ask the rule."""
        return await rules.enable_rule(tx, body.rule_id)

    @routes.post("/tool-rules/disable")
    async def disable_rule(body: ToolRuleToDisable, tx: Transaction = door.writer(MANAGE_TOOL_RULES)) -> ToolRule:
        """Ask the rule no more, and keep its place."""
        return await rules.disable_rule(tx, body.rule_id, body.reason)

    @routes.post("/tool-rules/delete")
    async def delete_rule(body: ToolRuleTarget, tx: Transaction = door.writer(MANAGE_TOOL_RULES)) -> ToolRule:
        """Take the rule out of the order for good; what it said stays readable."""
        return await rules.delete_rule(tx, body.rule_id)

    @routes.post("/tool-rules/reorder")
    async def reorder(body: ToolRuleOrder, tx: Transaction = door.writer(MANAGE_TOOL_RULES)) -> ToolRuleList:
        """Ask the rules in this order."""
        return await rules.reorder_rules(tx, body)

    @routes.get("/tool-rules/list")
    async def list_rules(tx: Transaction = door.reader(READ_TOOLS)) -> ToolRuleList:
        """The rules that are there, in the order in which they are asked."""
        return await rules.list_rules(tx)

    @routes.get("/tool-rules/{rule_id}")
    async def get_rule(rule_id: UUID, tx: Transaction = door.reader(READ_TOOLS)) -> ToolRuleWithVersions:
        """One rule with its versions, also one that was deleted."""
        return await rules.get_rule(tx, rule_id)
