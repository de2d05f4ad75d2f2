"""Publishing the tools that come with the lane."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from datalane.agents.tools.schemas import BuiltInTools, PublishedBuiltIn, Role, ToolToPublish
from datalane.agents.tools.service import get_tool, publish_tool
from datalane.db.transaction import Transaction
from datalane.engine.tools import Tool, Tools
from datalane.errors import NotFound

_ROLES: Mapping[str, Role] = {"viewer": "viewer", "member": "member", "admin": "admin", "owner": "owner"}


async def publish_built_in(
    tx: Transaction, tools: Tools, renew: bool = False, now: datetime | None = None
) -> BuiltInTools:
    """Those that the workspace has not; with `renew` the others as well, as another version where it differs.

    A workspace may say other things of them in versions of its own, such as that a person approves. Raises as
    `publish_tool`.
    """
    told = []
    for tool in tools:
        created = False
        if renew or not await _has(tx, tool.name):
            created = (await publish_tool(tx, _as_published(tool), now)).created
        told.append(PublishedBuiltIn(tool_name=tool.name, created=created))
    return BuiltInTools(data=told)


async def _has(tx: Transaction, name: str) -> bool:
    try:
        await get_tool(tx.following(), name)
    except NotFound:
        return False
    return True


def _as_published(tool: Tool) -> ToolToPublish:
    """Who may do it by a route may have it done: no more is asked for, and what is written takes no approval."""
    return ToolToPublish(
        tool_name=tool.name,
        description=tool.description,
        input_schema=tool.input_schema,
        output_schema=tool.output_schema,
        required_role=_ROLES[tool.needs.least],
        required_scopes=[tool.needs.name],
        side_effect=tool.side_effect,
        approval="never",
        execution="parallel" if tool.side_effect == "read" else "serial",
    )
