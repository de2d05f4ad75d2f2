"""The role matrix as data: what it takes, and what it refuses to take."""

from __future__ import annotations

from dataclasses import replace

import pytest

from datalane.contracts.authorization import MEMBER_ROLES, RoleMatrix
from datalane.contracts.context import Context, Role
from datalane.errors import Forbidden, InvalidInput
from datalane.kit.ids import uuid7


def a_member(role: Role) -> Context:
    return Context(uuid7(), uuid7(), role)


@pytest.mark.parametrize("least", MEMBER_ROLES)
@pytest.mark.parametrize("role", [*MEMBER_ROLES, Role.SYSTEM])
def test_a_line_lets_its_role_and_all_above_through(least: Role, role: Role) -> None:
    line = RoleMatrix().allow(least, "thing.change")
    above = [*MEMBER_ROLES, Role.SYSTEM].index(role) >= MEMBER_ROLES.index(least)
    assert line.allows(role) is above
    if above:
        line.check(a_member(role))
    else:
        with pytest.raises(Forbidden, match=f"takes {least} or above") as refused:
            line.check(a_member(role))
        assert (refused.value.denial, refused.value.target) == ("role", "thing.change")


def test_the_same_line_twice_is_one_line() -> None:
    matrix = RoleMatrix()
    assert matrix.allow(Role.MEMBER, "thing.change") is matrix.allow(Role.MEMBER, "thing.change")
    assert (len(matrix), [line.name for line in matrix]) == (1, ["thing.change"])


def test_a_line_cannot_be_stated_again_with_another_role() -> None:
    matrix = RoleMatrix()
    matrix.allow(Role.ADMIN, "thing.change")
    with pytest.raises(InvalidInput, match="stated twice"):
        matrix.allow(Role.VIEWER, "thing.change")
    assert matrix["thing.change"].least is Role.ADMIN


@pytest.mark.parametrize("name", ["thing", "Thing.change", "thing.", ".change", "thing change", ""])
def test_a_malformed_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"resource\.action"):
        RoleMatrix().allow(Role.MEMBER, name)


@pytest.mark.parametrize("need", ["things", "datalane.things:truncate", "datalane.things:", "DROP TABLE things"])
def test_a_malformed_need_is_refused(need: str) -> None:
    with pytest.raises(InvalidInput, match=r"schema\.verb"):
        RoleMatrix().allow(Role.MEMBER, "thing.change", needs=[need])


@pytest.mark.parametrize("role", MEMBER_ROLES)
def test_what_is_the_operator_s_no_member_may(role: Role) -> None:
    line = RoleMatrix().allow(Role.SYSTEM, "thing.sell")
    line.check(a_member(Role.SYSTEM))
    with pytest.raises(Forbidden, match="takes system or above"):
        line.check(a_member(role))


def test_an_unknown_line_is_said_to_be_unknown() -> None:
    with pytest.raises(InvalidInput, match=r"no permission thing\.sell"):
        RoleMatrix()["thing.sell"]


@pytest.mark.parametrize("scopes", [["thing.change"], ["thing.*"], ["other.read", "thing.change"], None])
def test_a_scope_lets_its_line_or_its_whole_resource_through(scopes: list[str] | None) -> None:
    granted = None if scopes is None else frozenset(scopes)
    RoleMatrix().allow(Role.MEMBER, "thing.change").check(replace(a_member(Role.MEMBER), scopes=granted))


@pytest.mark.parametrize("scopes", [[], ["thing.read"], ["thing"], ["*"], ["thing.change.*"], ["things.*"]])
@pytest.mark.parametrize("role", [*MEMBER_ROLES, Role.SYSTEM])
def test_what_the_scopes_leave_out_no_role_may(scopes: list[str], role: Role) -> None:
    line = RoleMatrix().allow(Role.VIEWER, "thing.change")
    with pytest.raises(Forbidden, match="scopes leave this out") as refused:
        line.check(replace(a_member(role), scopes=frozenset(scopes)))
    assert (refused.value.denial, refused.value.target) == ("scope", "thing.change")


def test_scopes_give_nothing_that_the_role_may_not() -> None:
    with pytest.raises(Forbidden, match="takes admin or above"):
        RoleMatrix().allow(Role.ADMIN, "thing.change").check(
            replace(a_member(Role.MEMBER), scopes=frozenset({"thing.change"}))
        )


def test_a_scope_that_names_no_line_is_refused_by_name() -> None:
    matrix = RoleMatrix()
    matrix.allow(Role.MEMBER, "thing.change")
    matrix.check_scopes(["thing.change", "thing.*"])
    with pytest.raises(InvalidInput) as refused:
        matrix.check_scopes(["thing.change", "thing.sell", "*", "thing"])
    assert [fault["message"] for fault in refused.value.errors] == [
        "there is no permission *",
        "there is no permission thing",
        "there is no permission thing.sell",
    ]
