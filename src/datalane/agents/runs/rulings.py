"""Deciding a call of a tool for a run: by the policy, as whoever asked for the run, with what was approved before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal
from uuid import UUID

from datalane.agents.runs.schemas import ErrorClass
from datalane.agents.tools.deciding import CallableTool, ToolCall, decide_call, read_for_decision
from datalane.agents.tools.policy import Approval, Decision, InvalidArguments, digest_arguments
from datalane.contracts.context import Context, Role
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import NotFound

_ROLES = {1: Role.VIEWER, 2: Role.MEMBER, 3: Role.ADMIN, 4: Role.OWNER}
ARGUMENTS = "tool.arguments"
"""The rule that arguments are as the tool takes them; its version is the tool's."""

_queries = load_queries(__file__, "rulings.sql")


@dataclass(frozen=True, slots=True)
class Ruling:
    """What was decided about a call, by which rule. `tool` is None for one that is unknown."""

    tool: CallableTool | None
    digest: bytes
    outcome: Literal["authorized", "blocked_policy", "escalated"]
    rule_id: str
    rule_version: int
    reason: str
    error_class: ErrorClass | None = None
    approval_id: UUID | None = None


async def rule_on(tx: Transaction, run_id: UUID, tool_name: str, arguments: Mapping[str, Any]) -> Ruling:
    """What becomes of the call. Raises `NotFound` for a run that is not there, `InvalidInput` for what is not JSON."""
    asker = await _queries.get_asker(tx.connection, workspace_id=tx.workspace_id, run_id=run_id)
    if asker is None:
        raise NotFound("no such agent run")
    digest = digest_arguments(dict(arguments))
    tool = await read_for_decision(tx.following(), tool_name)
    call, context = ToolCall(dict(arguments), asker["agent"]), _as_asked(tx.context, asker)
    decided = decide_call(tx, tool, call, context)
    approval = None
    if isinstance(decided, Decision) and decided.outcome == "escalated" and tool is not None:
        approval = await _approval(tx, asker["parent_run_id"], tool, digest)
        if approval is not None:
            decided = decide_call(tx, tool, replace(call, approval=approval), context)
    if isinstance(decided, InvalidArguments):
        told = "; ".join(f"{fault.field or 'arguments'}: {fault.message}" for fault in decided.faults)
        version = decided.tool_version
        return Ruling(tool, digest, "blocked_policy", ARGUMENTS, version, told[:500], decided.error_class)
    used = approval.approval_id if approval is not None and decided.outcome == "authorized" else None
    return Ruling(
        tool, digest, decided.outcome, decided.rule_id, decided.rule_version, decided.reason, decided.error_class, used
    )


def _as_asked(context: Context, asker: Any) -> Context:
    """The context with no more than whoever asked for the run may do."""
    lower = min(context.role.rank, asker["actor_rank"])
    scopes = context.scopes if asker["scopes"] is None else frozenset(asker["scopes"])
    return replace(context, role=_ROLES[lower], scopes=scopes)


async def _approval(tx: Transaction, parent: UUID | None, tool: CallableTool, digest: bytes) -> Approval | None:
    if parent is None:
        return None
    terms = tool.terms
    found = await _queries.find_approval(
        tx.connection,
        workspace_id=tx.workspace_id,
        parent_run_id=parent,
        tool_name=terms.tool_name,
        tool_version=terms.version,
        arguments_digest=digest,
    )
    return None if found is None else Approval(found, terms.tool_name, terms.version, digest)
