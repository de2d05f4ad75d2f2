"""Tools: published anew, enabled and disabled.

What a tool takes and asks of its callers stands in versions that never change, so that a decision about a call can be
read years later. Before it is published a version is checked: its schemas, its scopes, and where it leads on failure.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

import orjson

from datalane.agents.permissions import MANAGE_TOOLS, READ_TOOLS
from datalane.agents.tools.policy import Link, leads_back
from datalane.agents.tools.schemas import (
    ListedTool,
    PublishedTool,
    Tool,
    ToolPage,
    ToolToPublish,
    ToolVersion,
    ToolWithVersions,
)
from datalane.contracts.authorization import MATRIX
from datalane.contracts.conformance import check_schema
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.audit import record
from datalane.errors import Conflict, InvalidInput, LimitExceeded, NotFound, StaleVersion
from datalane.kit.clock import utc_now

SHOWN_VERSIONS = 25
_HEAD = {"tool_name", "current_version"}

_queries = load_queries(__file__)


async def publish_tool(tx: Transaction, new: ToolToPublish, now: datetime | None = None) -> PublishedTool:
    """A new tool, enabled, or the next version of one that is there, enabled or not.

    What the current version says already makes no other one. Raises `InvalidInput` for schemas, scopes and a fallback
    that cannot be, `LimitExceeded`, and with a `current_version` `StaleVersion`, or `NotFound` of a tool that is new.
    """
    MANAGE_TOOLS.check(tx.context)
    tx = tx.following()
    check_content(new)
    await _queries.lock_tools(tx.connection, workspace_id=tx.workspace_id)
    await _check_fallback(tx, new)
    tool = await _queries.lock_tool(tx.connection, workspace_id=tx.workspace_id, tool_name=new.tool_name)
    if tool is None:
        await _add_tool(tx, new, now or utc_now())
    elif not await _publish_version(tx, new, tool["current_version"], now or utc_now()):
        return PublishedTool(tool=await _read(tx, new.tool_name), created=False)
    return PublishedTool(tool=await _read(tx, new.tool_name), created=True)


async def enable_tool(tx: Transaction, tool_name: str, now: datetime | None = None) -> Tool:
    """Let it be called from the commit on. Raises `NotFound`."""
    return await _set_enabled(tx, tool_name, True, None, now)


async def disable_tool(tx: Transaction, tool_name: str, reason: str | None = None, now: datetime | None = None) -> Tool:
    """Let no call of it be authorized from the commit on. Raises `NotFound`."""
    return await _set_enabled(tx, tool_name, False, reason, now)


async def get_tool(tx: Transaction, tool_name: str) -> ToolWithVersions:
    """Raises `NotFound`."""
    READ_TOOLS.check(tx.context)
    tool = await _read(tx, tool_name)
    rows = await _queries.list_versions(
        tx.connection, workspace_id=tx.workspace_id, tool_name=tool_name, most=SHOWN_VERSIONS
    )
    return ToolWithVersions(**tool.model_dump(), versions=[ToolVersion(**row) for row in rows])


async def list_tools(tx: Transaction, cursor: str | None = None, page_size: int = 25) -> ToolPage:
    """Tools by name. Raises `InvalidInput` for a cursor that is not this list's."""
    READ_TOOLS.check(tx.context)
    position = tx.read_cursor("agent_tools", cursor)
    rows = await _queries.list_tools(
        tx.connection,
        workspace_id=tx.workspace_id,
        after=position[0] if position else None,
        page_size=page_size + 1,
    )
    page, following = tx.cut_page("agent_tools", rows, page_size, lambda row: [row["tool_name"]])
    return ToolPage(data=[ListedTool(**row) for row in page], page_size=page_size, next_cursor=following)


def check_content(new: ToolToPublish) -> None:
    """What can be told from the version alone. Raises `InvalidInput` and `LimitExceeded`."""
    check_schema(new.input_schema, "body.input_schema")
    if new.input_schema.get("type") != "object":
        raise _invalid("input_schema", 'must say "type": "object": arguments are an object', "invalid_schema")
    if new.output_schema is not None:
        check_schema(new.output_schema, "body.output_schema")
    known = {line.name for line in MATRIX} | {f"{line.resource}.*" for line in MATRIX}
    for scope in new.required_scopes:
        if scope not in known:
            raise _invalid("required_scopes", "must name permissions, as the scopes of API keys do", "unknown_scope")
    if new.fallback_tool == new.tool_name:
        raise _invalid("fallback_tool", "must be another tool", "fallback_leads_back")


def digest_content(new: ToolToPublish) -> bytes:
    """SHA-256 of all that the version says."""
    return hashlib.sha256(orjson.dumps(new.model_dump(exclude=_HEAD), option=orjson.OPT_SORT_KEYS)).digest()


async def _check_fallback(tx: Transaction, new: ToolToPublish) -> None:
    if new.fallback_tool is None:
        return
    links = await read_links(tx, new.fallback_tool)
    if not links:
        raise _invalid("fallback_tool", "must be a tool that is there", "unknown_fallback")
    if leads_back(new.tool_name, new.fallback_tool, links):
        raise _invalid("fallback_tool", "must not lead back to the tool itself", "fallback_leads_back")


async def read_links(tx: Transaction, tool_name: str) -> dict[str, Link]:
    """The chain of fallbacks that begins with a tool; nothing for one that is unknown."""
    rows = await _queries.follow_fallbacks(tx.connection, workspace_id=tx.workspace_id, tool_name=tool_name)
    return {row["tool_name"]: Link(row["enabled"], row["fallback_tool"]) for row in rows}


async def _add_tool(tx: Transaction, new: ToolToPublish, at: datetime) -> None:
    if new.current_version is not None:
        raise NotFound("no such tool")
    if await _queries.count_tools(tx.connection, workspace_id=tx.workspace_id) >= tx.limits.tools:
        raise LimitExceeded(f"the workspace has {tx.limits.tools} tools already (limits.tools)")
    await _queries.add_tool(
        tx.connection,
        workspace_id=tx.workspace_id,
        tool_name=new.tool_name,
        now=at,
        actor_id=tx.context.actor_id,
    )
    await _add_version(tx, new, 1, digest_content(new), at)
    await record(tx, "agent_tool.created", "agent_tool", new.tool_name, after=_told(1, new))


async def _publish_version(tx: Transaction, new: ToolToPublish, before: int, at: datetime) -> bool:
    """Whether it was another version."""
    if new.current_version not in (None, before):
        current = await _read(tx, new.tool_name)
        raise StaleVersion(f"the tool is at version {before}", {"current": current.model_dump(mode="json")})
    kept = {"workspace_id": tx.workspace_id, "tool_name": new.tool_name}
    digest = digest_content(new)
    if await _queries.get_digest(tx.connection, **kept, version=before) == digest:
        return False
    await _add_version(tx, new, before + 1, digest, at)
    done = await _queries.set_version(tx.connection, **kept, version=before + 1, now=at, actor_id=tx.context.actor_id)
    if done != "UPDATE 1":
        raise Conflict("the tool changed meanwhile; look again")
    after = _told(before + 1, new)
    await record(tx, "agent_tool.published", "agent_tool", new.tool_name, before={"version": before}, after=after)
    return True


async def _add_version(tx: Transaction, new: ToolToPublish, number: int, digest: bytes, at: datetime) -> None:
    await _queries.add_version(
        tx.connection,
        workspace_id=tx.workspace_id,
        version=number,
        content_sha256=digest,
        now=at,
        actor_id=tx.context.actor_id,
        **new.model_dump(exclude={"current_version"}),
    )


async def _set_enabled(
    tx: Transaction, tool_name: str, enabled: bool, reason: str | None, now: datetime | None
) -> Tool:
    MANAGE_TOOLS.check(tx.context)
    tx = tx.following()
    kept = {"workspace_id": tx.workspace_id, "tool_name": tool_name}
    tool = await _queries.lock_tool(tx.connection, **kept)
    if tool is None:
        raise NotFound("no such tool")
    if tool["enabled"] is not enabled:
        await _queries.set_enabled(
            tx.connection,
            **kept,
            enabled=enabled,
            reason=reason,
            now=now or utc_now(),
            actor_id=tx.context.actor_id,
        )
        what, after = ("enabled", None) if enabled else ("disabled", {"reason": reason})
        await record(tx, f"agent_tool.{what}", "agent_tool", tool_name, after=after)
    return await _read(tx, tool_name)


async def _read(tx: Transaction, tool_name: str) -> Tool:
    row = await _queries.get_tool(tx.connection, workspace_id=tx.workspace_id, tool_name=tool_name)
    if row is None:
        raise NotFound("no such tool")
    return Tool(**row)


def _told(version: int, new: ToolToPublish) -> dict[str, Any]:
    return {"version": version, **new.model_dump(exclude={*_HEAD, "description", "input_schema", "output_schema"})}


def _invalid(field: str, message: str, code: str) -> InvalidInput:
    return InvalidInput(f"{field} {message}", [{"field": f"body.{field}", "message": message, "code": code}])
