"""Arguments with expressions in them: found, filled, and checked as far as they are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from datalane.contracts.authorization import Permission
from datalane.contracts.context import Context, Role
from datalane.db.transaction import Transaction
from datalane.engine.actions import Action, ActionCall, Actions
from datalane.errors import Forbidden, InvalidInput, LimitExceeded
from datalane.integrations.automation.conditions import Conditions, Expression
from datalane.integrations.automation.publishing import MOST_EXPRESSIONS, Publishing
from datalane.integrations.automation.schemas import RuleAction
from datalane.integrations.automation.templates import check_literals, fill, find_expressions
from datalane.kit.ids import uuid7
from datalane.settings import Limits


class Letter(BaseModel):
    """One of `text` and `file`, to somebody."""

    model_config = ConfigDict(extra="forbid")

    to: str
    text: str | None = None
    file: str | None = None
    copies: int = Field(default=1, ge=1)
    extra: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.text is None) == (self.file is None):
            raise ValueError("a text or a file")
        return self


async def send(tx: Transaction, letter: Letter, call: ActionCall) -> Mapping[str, Any]:
    return {}


@pytest.fixture
def actions() -> Actions:
    known = Actions()
    known.add(Action("letter.send", "Sends a letter.", Letter, Permission("letter.send", Role.OWNER), send))
    return known


def cel(text: str) -> dict[str, str]:
    return {"cel": text}


def test_expressions_are_found_in_order_at_any_depth_and_filled_there() -> None:
    arguments = {
        "a": cel("1"),
        "b": [cel("2"), "x", {"c": cel("3")}],
        "cel": "a literal, as it stands among others",
        "not_one": {"cel": 4},
        "nor_this": {"cel": "5", "more": 6},
    }
    found = list(find_expressions(arguments, "here"))
    assert found == [Expression("here.a", "1"), Expression("here.b.0", "2"), Expression("here.b.2.c", "3")]
    assert fill(arguments, iter("xyz")) == {**arguments, "a": "x", "b": ["y", "x", {"c": "z"}]}


@pytest.mark.parametrize(
    "arguments",
    [
        {"to": "Ada", "text": "hello"},
        {"to": cel("event.actor_id"), "text": "hello"},
        {"to": "Ada", "text": cel("'hello'")},
        {"to": cel("'x'"), "file": cel("'y'"), "copies": cel("2"), "extra": {"a": [cel("1")]}},
    ],
)
def test_arguments_that_may_be_right_are_let_pass(actions: Actions, arguments: dict[str, Any]) -> None:
    check_literals(actions, "letter.send", arguments, "here")
    assert actions.get("letter.send").arguments is Letter


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        ({"text": "hello"}, ["here.to"]),
        ({"to": 7, "text": cel("'hello'")}, ["here.to"]),
        ({"to": cel("'x'"), "text": "hello", "copies": 0}, ["here.copies"]),
        ({"to": "Ada", "text": "hello", "colour": cel("'red'")}, ["here.colour"]),
        ({"to": "Ada", "colour": "red"}, ["here.colour"]),
        ({"to": "Ada"}, ["here"]),
    ],
)
def test_literals_that_are_wrong_are_named_beside_computed_arguments(
    actions: Actions, arguments: dict[str, Any], fields: list[str]
) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_literals(actions, "letter.send", arguments, "here")
    assert [fault["field"] for fault in refused.value.errors] == fields


async def test_a_version_is_bounded_and_asks_for_the_permission_of_each_action(actions: Actions) -> None:
    publishing = Publishing(Conditions(), actions, Limits())
    owner, admin = (Context(uuid7(), uuid7(), role) for role in (Role.OWNER, Role.ADMIN))
    step = RuleAction(action="letter.send", arguments={"to": "Ada", "text": "hello"})
    many = step.model_copy(update={"arguments": {**step.arguments, "extra": {"all": [cel("1")] * MOST_EXPRESSIONS}}})
    try:
        assert (await publishing.check(owner, "true", [step])).actions == [step.model_dump()]
        with pytest.raises(Forbidden, match=r"letter\.send"):
            await publishing.check(admin, "true", [step])
        with pytest.raises(LimitExceeded, match="101 expressions"):
            await publishing.check(
                owner, "true", [many, step.model_copy(update={"arguments": {**step.arguments, "to": cel("'Ada'")}})]
            )
        deep: Any = "x"
        for _ in range(40):
            deep = {"x": deep}
        with pytest.raises(LimitExceeded, match="nested deeper"):
            await publishing.check(
                owner, "true", [step.model_copy(update={"arguments": {**step.arguments, "extra": deep}})]
            )
    finally:
        await publishing.conditions.aclose()
