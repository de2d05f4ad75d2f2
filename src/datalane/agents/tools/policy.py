"""What becomes of a call of a tool, decided from values alone.

    known ─> enabled ─> arguments fit ─> role ─> scopes ─> rules of the workspace ─> approval ─> authorized

The first that says no is the answer. Of the workspace's rules, taken in order, the first one that fits decides; one
that allows ends the rules, and takes away no approval that the tool asks for. A person's approval of exactly this call
is what a rule that escalates, and the tool, were waiting for; it moves no denial.

Each decision names a rule and its version: one of the workspace, or one of those below, whose version is the tool's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import orjson

from datalane.contracts.conformance import Fault
from datalane.contracts.context import Role

SideEffect = Literal["none", "read", "write", "external"]
ApprovalTerm = Literal["never", "for_writes", "always"]
Effect = Literal["allow", "deny", "escalate"]
Outcome = Literal["authorized", "blocked_policy", "escalated"]
DenialClass = Literal["authz_denied", "policy_denied"]

KNOWN, ENABLED, ROLE, SCOPES = "tool.known", "tool.enabled", "tool.role", "tool.scopes"
APPROVAL, DEFAULT = "tool.approval", "tool.default"
WRITES = frozenset({"write", "external"})
"""Side effects that `for_writes` wants an approval of."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a version of a tool asks of whoever calls it."""

    tool_name: str
    version: int
    enabled: bool
    required_role: Role
    required_scopes: tuple[str, ...]
    side_effect: SideEffect
    approval: ApprovalTerm


@dataclass(frozen=True, slots=True)
class Rule:
    """A version of an enabled rule. What is None holds of every call."""

    rule_id: str
    version: int
    effect: Effect
    tool_pattern: str
    reason: str
    side_effect: SideEffect | None = None
    below_role: Role | None = None
    agent: str | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """Somebody allowed one call: of this version of the tool, with the arguments of this digest."""

    approval_id: UUID
    tool_name: str
    tool_version: int
    arguments_sha256: bytes


@dataclass(frozen=True, slots=True)
class Asked:
    """A call that is asked for. `faults` are those of its arguments against the tool's input schema."""

    arguments_sha256: bytes
    faults: tuple[Fault, ...] = ()
    agent: str | None = None
    approval: Approval | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `scopes` are those of an API key, None for all that the role may."""

    role: Role
    scopes: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """`rule_version` of a built-in rule is the tool's version, 0 of a tool that is unknown."""

    outcome: Outcome
    rule_id: str
    rule_version: int
    reason: str
    error_class: DenialClass | None = None


@dataclass(frozen=True, slots=True)
class InvalidArguments:
    """The arguments are not what the tool takes: nothing was decided about the call."""

    tool_version: int
    faults: tuple[Fault, ...]
    error_class: Literal["validation_error"] = "validation_error"


def decide(asked: Asked, tool: Terms | None, rules: Sequence[Rule], caller: Caller) -> Decision | InvalidArguments:
    """What becomes of the call. `rules` are the enabled ones of the workspace, in their order."""
    if tool is None:
        return Decision("blocked_policy", KNOWN, 0, "there is no such tool", "policy_denied")
    if not tool.enabled:
        return Decision("blocked_policy", ENABLED, tool.version, "the tool is disabled", "policy_denied")
    if asked.faults:
        return InvalidArguments(tool.version, asked.faults)
    return _refuse_caller(tool, caller) or _follow_rules(asked, tool, rules, caller)


def digest_arguments(arguments: Any) -> bytes:
    """SHA-256 of arguments in one way of writing them: equal arguments have equal digests."""
    return hashlib.sha256(orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS)).digest()


def _refuse_caller(tool: Terms, caller: Caller) -> Decision | None:
    if caller.role.rank < tool.required_role.rank:
        reason = f"the role {caller.role} may not call it; it takes {tool.required_role} or above"
        return Decision("blocked_policy", ROLE, tool.version, reason, "authz_denied")
    missing = [scope for scope in tool.required_scopes if not _covers(caller.scopes, scope)]
    if missing:
        reason = f"the API key's scopes leave out what it takes: {', '.join(missing)}"
        return Decision("blocked_policy", SCOPES, tool.version, reason, "authz_denied")
    return None


def _covers(scopes: Collection[str] | None, required: str) -> bool:
    return scopes is None or required in scopes or f"{required.rpartition('.')[0]}.*" in scopes


def _follow_rules(asked: Asked, tool: Terms, rules: Sequence[Rule], caller: Caller) -> Decision:
    rule = next((rule for rule in rules if fits(rule, asked, tool, caller)), None)
    approved = _approves(asked.approval, tool, asked.arguments_sha256)
    if rule is not None and rule.effect == "deny":
        return Decision("blocked_policy", rule.rule_id, rule.version, rule.reason, "policy_denied")
    if rule is not None and rule.effect == "escalate":
        if not approved:
            return Decision("escalated", rule.rule_id, rule.version, f"{rule.reason}{_unfit(asked)}")
        return Decision("authorized", rule.rule_id, rule.version, _approved_by(asked))
    if _wants_approval(tool):
        if not approved:
            reason = f"the tool asks for an approval ({tool.approval}){_unfit(asked)}"
            return Decision("escalated", APPROVAL, tool.version, reason)
        return Decision("authorized", APPROVAL, tool.version, _approved_by(asked))
    if rule is not None:
        return Decision("authorized", rule.rule_id, rule.version, rule.reason)
    return Decision("authorized", DEFAULT, tool.version, "no rule says otherwise")


def fits(rule: Rule, asked: Asked, tool: Terms, caller: Caller) -> bool:
    """Whether all that the rule names holds of the call."""
    return (
        matches(rule.tool_pattern, tool.tool_name)
        and rule.side_effect in (None, tool.side_effect)
        and (rule.below_role is None or caller.role.rank < rule.below_role.rank)
        and rule.agent in (None, asked.agent)
    )


def matches(pattern: str, tool_name: str) -> bool:
    """A pattern is a name, or with a star at its end the beginning of names."""
    if pattern.endswith("*"):
        return tool_name.startswith(pattern[:-1])
    return tool_name == pattern


def _wants_approval(tool: Terms) -> bool:
    return tool.approval == "always" or (tool.approval == "for_writes" and tool.side_effect in WRITES)


def _approves(approval: Approval | None, tool: Terms, arguments_sha256: bytes) -> bool:
    return approval is not None and (approval.tool_name, approval.tool_version, approval.arguments_sha256) == (
        tool.tool_name,
        tool.version,
        arguments_sha256,
    )


def _approved_by(asked: Asked) -> str:
    assert asked.approval is not None
    return f"approved ({asked.approval.approval_id})"


def _unfit(asked: Asked) -> str:
    return "" if asked.approval is None else "; the approval is of another tool, version or arguments"


@dataclass(frozen=True, slots=True)
class Link:
    """Where the current version of a tool leads when it has failed."""

    enabled: bool
    fallback: str | None


def leads_back(tool_name: str, fallback: str, links: Mapping[str, Link]) -> bool:
    """Whether a chain of fallbacks that begins with `fallback` comes to the tool itself."""
    return tool_name in _chain(fallback, links)


def choose_fallback(first: str | None, links: Mapping[str, Link], tried: Collection[str] = ()) -> str | None:
    """The tool to try next: the first of the chain that is enabled and was not tried, if there is one."""
    return next((name for name in _chain(first, links) if links[name].enabled and name not in tried), None)


def _chain(first: str | None, links: Mapping[str, Link]) -> list[str]:
    """The known tools from `first` on, each once."""
    chain: list[str] = []
    while first is not None and first in links and first not in chain:
        chain.append(first)
        first = links[first].fallback
    return chain
