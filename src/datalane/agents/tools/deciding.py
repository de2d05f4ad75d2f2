"""Deciding a call of a tool: everything that it takes is read in one statement, and nothing is written.

    found = await read_for_decision(tx, name)
    decision = decide_call(tx, found, ToolCall(arguments, agent, approval))

Whoever makes the call writes the decision down, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from datalane.agents.permissions import READ_TOOLS
from datalane.agents.tools.policy import (
    Approval,
    Asked,
    Caller,
    Decision,
    InvalidArguments,
    Rule,
    Terms,
    choose_fallback,
    decide,
    digest_arguments,
)
from datalane.agents.tools.schemas import ArgumentFault, Execution, ToolCheck, ToolCheckResult
from datalane.agents.tools.service import read_links
from datalane.contracts.conformance import Fault, find_faults
from datalane.contracts.context import Context, Role
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import NotFound

_queries = load_queries(__file__)


@dataclass(frozen=True, slots=True)
class CallableTool:
    """The current version of a tool, as a call takes it, and in their order the enabled rules whose pattern fits it.

    `max_attempts` counts the first one as well.
    """

    terms: Terms
    rules: tuple[Rule, ...]
    input_schema: dict[str, Any]
    execution: Execution
    max_attempts: int
    timeout_seconds: int
    fallback_tool: str | None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that is asked for, by an agent or by nobody in particular."""

    arguments: dict[str, Any]
    agent: str | None = None
    approval: Approval | None = None


async def read_for_decision(tx: Transaction, tool_name: str) -> CallableTool | None:
    """What the decision about a call is made of, in one statement. None for a tool that is unknown."""
    READ_TOOLS.check(tx.context)
    row = await _queries.read_for_decision(tx.connection, workspace_id=tx.workspace_id, tool_name=tool_name)
    if row is None:
        return None
    terms = Terms(
        tool_name,
        row["version"],
        row["enabled"],
        Role(row["required_role"]),
        tuple(row["required_scopes"]),
        row["side_effect"],
        row["approval"],
    )
    return CallableTool(
        terms,
        tuple(_rule(*each) for each in row["rules"] or ()),
        row["input_schema"],
        row["execution"],
        row["max_attempts"],
        row["timeout_seconds"],
        row["fallback_tool"],
    )


def decide_call(
    tx: Transaction, found: CallableTool | None, call: ToolCall, context: Context | None = None
) -> Decision | InvalidArguments:
    """What becomes of a call of what `read_for_decision` answered, for `context` (default: the transaction's).

    Give the context of whoever asked: one that follows from a change has no scopes that could be missed.
    """
    who = context or tx.context
    faults: tuple[Fault, ...] = ()
    if found is not None and found.terms.enabled:
        faults = find_faults(found.input_schema, call.arguments, "the arguments")
    digest = b"" if faults or found is None else digest_arguments(call.arguments)
    return decide(
        Asked(digest, faults, call.agent, call.approval),
        None if found is None else found.terms,
        () if found is None else found.rules,
        Caller(who.role, who.scopes),
    )


async def check_output(tx: Transaction, tool_name: str, version: int, output: Any) -> tuple[Fault, ...]:
    """What is wrong with the output of a call; nothing where the version has no schema of it. Raises `NotFound`."""
    READ_TOOLS.check(tx.context)
    row = await _queries.read_output_schema(
        tx.connection, workspace_id=tx.workspace_id, tool_name=tool_name, version=version
    )
    if row is None:
        raise NotFound("no such version of a tool")
    return () if row["output_schema"] is None else find_faults(row["output_schema"], output)


async def read_fallback(
    tx: Transaction, tool_name: str, version: int, tried: Collection[str] = ()
) -> CallableTool | None:
    """What to try when this version of a tool has failed: the current version of the next enabled tool of its chain.

    None when the chain ends, or holds only tools that were `tried`. A call of it is decided like any other. Raises
    `NotFound`.
    """
    READ_TOOLS.check(tx.context)
    row = await _queries.get_fallback(tx.connection, workspace_id=tx.workspace_id, tool_name=tool_name, version=version)
    if row is None:
        raise NotFound("no such version of a tool")
    first = row["fallback_tool"]
    if first is None:
        return None
    following = choose_fallback(first, await read_links(tx, first), {tool_name, *tried})
    return None if following is None else await read_for_decision(tx, following)


async def check_call(tx: Transaction, asked: ToolCheck) -> ToolCheckResult:
    """What would become of a call of one's own; nothing is written."""
    found = await read_for_decision(tx, asked.tool_name)
    decided = decide_call(tx, found, ToolCall(asked.arguments, asked.agent))
    version = None if found is None else found.terms.version
    if isinstance(decided, InvalidArguments):
        return ToolCheckResult(
            outcome="invalid_arguments",
            tool_version=version,
            rule_id=None,
            rule_version=None,
            reason=None,
            error_class=decided.error_class,
            faults=[ArgumentFault(field=fault.field, message=fault.message) for fault in decided.faults],
        )
    return ToolCheckResult(
        outcome=decided.outcome,
        tool_version=version,
        rule_id=decided.rule_id,
        rule_version=decided.rule_version,
        reason=decided.reason,
        error_class=decided.error_class,
        faults=[],
    )


def _rule(
    rule_id: str,
    version: int,
    effect: Any,
    tool_pattern: str,
    reason: str,
    side_effect: Any,
    below_role: str | None,
    agent: str | None,
) -> Rule:
    below = None if below_role is None else Role(below_role)
    return Rule(rule_id, version, effect, tool_pattern, reason, side_effect, below, agent)
