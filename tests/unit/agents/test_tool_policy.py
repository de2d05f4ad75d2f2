"""What becomes of a call of a tool: one table of cases, and what holds of all calls that there can be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalane.agents.tools.policy import (
    APPROVAL,
    DEFAULT,
    ENABLED,
    KNOWN,
    ROLE,
    SCOPES,
    WRITES,
    Approval,
    Asked,
    Caller,
    Decision,
    InvalidArguments,
    Link,
    Rule,
    Terms,
    choose_fallback,
    decide,
    digest_arguments,
    leads_back,
    matches,
)
from datalane.contracts.conformance import Fault
from datalane.contracts.context import Role

DIGEST = digest_arguments({"to": "ada"})
MAIL = Terms("mail.send", 3, True, Role.MEMBER, (), "external", "never")
ASKED = Asked(DIGEST)
MEMBER = Caller(Role.MEMBER)
GIVEN = Approval(UUID(int=7), "mail.send", 3, DIGEST)
ALLOW = Rule("allow", 2, "allow", "mail.*", "mail is fine")
DENY = Rule("deny", 5, "deny", "mail.*", "no mail today")
ESCALATE = Rule("ask", 4, "escalate", "mail.*", "somebody looks at mail")


Said = tuple[str, str, int, str | None]
DEFAULTED: Said = ("authorized", DEFAULT, 3, None)
WAITS: Said = ("escalated", APPROVAL, 3, None)
DENIED: Said = ("blocked_policy", "deny", 5, "policy_denied")
NO_ROLE: Said = ("blocked_policy", ROLE, 3, "authz_denied")
NO_SCOPE: Said = ("blocked_policy", SCOPES, 3, "authz_denied")
OWNER, ADMIN, VIEWER = Caller(Role.OWNER), Caller(Role.ADMIN), Caller(Role.VIEWER)
OFF = replace(MAIL, enabled=False)
OWNERS = replace(MAIL, required_role=Role.OWNER)
SCOPED = replace(MAIL, required_scopes=("item.create",))
ALWAYS, FOR_WRITES = replace(MAIL, approval="always"), replace(MAIL, approval="for_writes")
APPROVED, CLERK = replace(ASKED, approval=GIVEN), replace(ASKED, agent="clerk")
UNFIT = replace(ASKED, faults=(Fault("", "x"),))


def key(*scopes: str) -> Caller:
    return Caller(Role.OWNER, frozenset(scopes))


CASES: dict[str, tuple[Terms | None, list[Rule], Caller, Asked, Said]] = {
    "unknown": (None, [ALLOW], MEMBER, ASKED, ("blocked_policy", KNOWN, 0, "policy_denied")),
    "disabled": (OFF, [ALLOW], MEMBER, UNFIT, ("blocked_policy", ENABLED, 3, "policy_denied")),
    "role": (MAIL, [ALLOW], VIEWER, ASKED, NO_ROLE),
    "role of an owner": (OWNERS, [], ADMIN, ASKED, NO_ROLE),
    "the lane itself": (OWNERS, [], Caller(Role.SYSTEM), ASKED, DEFAULTED),
    "another scope": (SCOPED, [ALLOW], key("item.read"), ASKED, NO_SCOPE),
    "no scopes at all": (SCOPED, [], key(), ASKED, NO_SCOPE),
    "the scope": (SCOPED, [], key("item.create"), ASKED, DEFAULTED),
    "all of the resource": (
        replace(SCOPED, required_scopes=("item.create", "item.*")),
        [],
        key("item.*"),
        ASKED,
        DEFAULTED,
    ),
    "not all of it": (replace(SCOPED, required_scopes=("item.*",)), [], key("item.create"), ASKED, NO_SCOPE),
    "no key": (SCOPED, [], MEMBER, ASKED, DEFAULTED),
    "default": (MAIL, [], MEMBER, ASKED, DEFAULTED),
    "allow": (MAIL, [ALLOW, DENY], MEMBER, ASKED, ("authorized", "allow", 2, None)),
    "deny": (MAIL, [DENY, ALLOW], MEMBER, ASKED, DENIED),
    "deny, approved": (MAIL, [DENY], MEMBER, APPROVED, DENIED),
    "escalate": (MAIL, [ESCALATE, DENY], MEMBER, ASKED, ("escalated", "ask", 4, None)),
    "escalate, approved": (MAIL, [ESCALATE, DENY], MEMBER, APPROVED, ("authorized", "ask", 4, None)),
    "always": (replace(ALWAYS, side_effect="none"), [], MEMBER, ASKED, WAITS),
    "for writes": (FOR_WRITES, [], MEMBER, ASKED, WAITS),
    "nothing written": (replace(FOR_WRITES, side_effect="read"), [], MEMBER, ASKED, DEFAULTED),
    "approved": (ALWAYS, [], MEMBER, APPROVED, ("authorized", APPROVAL, 3, None)),
    "an allow is no approval": (ALWAYS, [ALLOW], MEMBER, ASKED, WAITS),
    "of another agent": (MAIL, [replace(DENY, agent="porter")], MEMBER, CLERK, DEFAULTED),
    "of no agent": (MAIL, [replace(DENY, agent="porter")], MEMBER, ASKED, DEFAULTED),
    "of this agent": (MAIL, [replace(DENY, agent="clerk")], MEMBER, CLERK, DENIED),
    "below a role": (MAIL, [replace(DENY, below_role=Role.ADMIN)], MEMBER, ASKED, DENIED),
    "not below it": (MAIL, [replace(DENY, below_role=Role.ADMIN)], ADMIN, ASKED, DEFAULTED),
    "another side effect": (MAIL, [replace(DENY, side_effect="write")], MEMBER, ASKED, DEFAULTED),
    "this side effect": (MAIL, [replace(DENY, side_effect="external")], MEMBER, ASKED, DENIED),
    "all but one thing": (
        MAIL,
        [replace(DENY, side_effect="external", below_role=Role.MEMBER)],
        MEMBER,
        ASKED,
        DEFAULTED,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_case_names_the_rule_that_decided(case: str) -> None:
    tool, rules, caller, asked, expected = CASES[case]
    decided = decide(asked, tool, rules, caller)
    assert isinstance(decided, Decision)
    assert (decided.outcome, decided.rule_id, decided.rule_version, decided.error_class) == expected


def test_arguments_that_do_not_fit_are_no_matter_of_policy() -> None:
    faults = (Fault("to", "is required"),)
    asked = Asked(b"", faults)
    assert decide(asked, MAIL, [DENY], Caller(Role.VIEWER)) == InvalidArguments(3, faults, "validation_error")


@pytest.mark.parametrize(
    "other",
    [
        replace(GIVEN, tool_name="mail.read"),
        replace(GIVEN, tool_version=2),
        replace(GIVEN, arguments_sha256=digest_arguments({"to": "bob"})),
    ],
)
@pytest.mark.parametrize("rules", [[], [ESCALATE]])
def test_an_approval_of_another_call_is_none(other: Approval, rules: list[Rule]) -> None:
    decided = decide(replace(ASKED, approval=other), replace(MAIL, approval="always"), rules, MEMBER)
    assert isinstance(decided, Decision)
    assert (decided.outcome, "approval is of another" in decided.reason) == ("escalated", True)


@pytest.mark.parametrize(
    ("pattern", "name", "fit"),
    [
        ("mail.send", "mail.send", True),
        ("mail.send", "mail.sender", False),
        ("mail.*", "mail.send", True),
        ("mail*", "mailbox", True),
        ("mail.*", "mail", False),
        ("*", "anything", True),
        ("m.il*", "mail", False),
    ],
)
def test_a_star_stands_for_what_follows_and_nothing_else_is_special(pattern: str, name: str, fit: bool) -> None:
    assert matches(pattern, name) is fit


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ({"a": 1, "b": [1, {"c": None, "d": 2}]}, {"b": [1, {"d": 2, "c": None}], "a": 1}, True),
        ({"a": [1, 2]}, {"a": [2, 1]}, False),
        ({"a": "1"}, {"a": 1}, False),
        ({}, {"a": None}, False),
    ],
)
def test_equal_arguments_have_equal_digests_and_others_have_others(one: Any, other: Any, equal: bool) -> None:
    assert (digest_arguments(one) == digest_arguments(other)) is equal


SIDE_EFFECTS = st.sampled_from(["none", "read", "write", "external"])
ROLES = st.sampled_from([Role.VIEWER, Role.MEMBER, Role.ADMIN, Role.OWNER])
NAMES = st.sampled_from(["mail.send", "mail.read", "files"])
SCOPE_NAMES = st.sampled_from(["item.read", "item.create", "item.*", "document.read"])
AGENTS = st.sampled_from([None, "clerk", "porter"])
DIGESTS = st.sampled_from([DIGEST, digest_arguments({})])
TOOLS = st.builds(
    Terms,
    tool_name=NAMES,
    version=st.integers(1, 3),
    enabled=st.booleans(),
    required_role=ROLES,
    required_scopes=st.lists(SCOPE_NAMES, max_size=2).map(tuple),
    side_effect=SIDE_EFFECTS,
    approval=st.sampled_from(["never", "for_writes", "always"]),
)
RULES = st.lists(
    st.builds(
        Rule,
        rule_id=st.integers(1, 99).map(str),
        version=st.integers(1, 9),
        effect=st.sampled_from(["allow", "deny", "escalate"]),
        tool_pattern=st.sampled_from(["*", "mail.*", "mail.send", "files"]),
        reason=st.just("because"),
        side_effect=st.none() | SIDE_EFFECTS,
        below_role=st.none() | st.sampled_from([Role.MEMBER, Role.ADMIN, Role.OWNER]),
        agent=AGENTS,
    ),
    max_size=4,
)
CALLERS = st.builds(Caller, role=ROLES, scopes=st.none() | st.frozensets(SCOPE_NAMES))
CALLS = st.builds(
    Asked,
    arguments_sha256=DIGESTS,
    agent=AGENTS,
    approval=st.none()
    | st.builds(Approval, st.just(UUID(int=1)), NAMES, tool_version=st.integers(1, 3), arguments_sha256=DIGESTS),
)


@given(CALLS, st.none() | TOOLS, RULES, CALLERS)
def test_every_decision_names_a_rule_and_who_may_not_is_never_authorized(
    asked: Asked, tool: Terms | None, rules: list[Rule], caller: Caller
) -> None:
    decided = decide(asked, tool, rules, caller)
    assert isinstance(decided, Decision)
    known = {(rule.rule_id, rule.version) for rule in rules}
    if not decided.rule_id.startswith("tool."):
        assert (decided.rule_id, decided.rule_version) in known
    else:
        assert decided.rule_version == (0 if tool is None else tool.version)
    assert decided.reason
    assert (decided.outcome == "blocked_policy") is (decided.error_class is not None)
    if decided.outcome != "authorized":
        return
    assert tool is not None
    assert tool.enabled
    assert caller.role.rank >= tool.required_role.rank
    if tool.approval == "always" or (tool.approval == "for_writes" and tool.side_effect in WRITES):
        assert asked.approval is not None
        assert (asked.approval.tool_name, asked.approval.tool_version) == (tool.tool_name, tool.version)
        assert asked.approval.arguments_sha256 == asked.arguments_sha256


@given(CALLS, TOOLS, RULES, CALLERS)
def test_a_denial_of_everything_in_front_lets_nothing_through(
    asked: Asked, tool: Terms, rules: list[Rule], caller: Caller
) -> None:
    first = Rule("first", 1, "deny", "*", "closed")
    decided = decide(asked, tool, [first, *rules], caller)
    assert isinstance(decided, Decision)
    assert decided.outcome == "blocked_policy"


@given(CALLS, TOOLS, RULES, CALLERS)
def test_an_approval_moves_no_denial(asked: Asked, tool: Terms, rules: list[Rule], caller: Caller) -> None:
    without = decide(replace(asked, approval=None), tool, rules, caller)
    approval = Approval(UUID(int=1), tool.tool_name, tool.version, asked.arguments_sha256)
    given_one = decide(replace(asked, approval=approval), tool, rules, caller)
    assert isinstance(without, Decision)
    assert isinstance(given_one, Decision)
    if without.outcome == "escalated":
        assert (given_one.outcome, given_one.rule_id) == ("authorized", without.rule_id)
    else:
        assert given_one == without


LINKS = {"a": Link(True, "b"), "b": Link(False, "c"), "c": Link(True, None), "x": Link(True, "y"), "y": Link(True, "x")}


def test_the_next_enabled_tool_of_the_chain_is_tried_that_was_not() -> None:
    assert choose_fallback("a", LINKS) == "a"
    assert choose_fallback("b", LINKS) == "c"
    assert choose_fallback("b", LINKS, ["c"]) is None
    assert choose_fallback("x", LINKS, ["x"]) == "y"
    assert choose_fallback("x", LINKS, ["x", "y"]) is None
    assert choose_fallback(None, LINKS) is None
    assert choose_fallback("gone", LINKS) is None


def test_a_chain_leads_back_when_the_tool_stands_in_it() -> None:
    assert leads_back("c", "a", LINKS)
    assert leads_back("a", "a", LINKS)
    assert not leads_back("new", "a", LINKS)
    assert not leads_back("new", "x", LINKS)
