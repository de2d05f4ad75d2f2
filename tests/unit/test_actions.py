"""The registry of what rules may do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict

from datalane.contracts.authorization import Permission
from datalane.contracts.context import Role
from datalane.db.transaction import Transaction
from datalane.engine.actions import Action, ActionCall, Actions
from datalane.errors import ConfigurationError, InvalidInput


class Greeting(BaseModel):
    model_config = ConfigDict(extra="forbid")

    whom: str


async def greet(tx: Transaction, arguments: Greeting, call: ActionCall) -> Mapping[str, Any]:
    return {"greeted": arguments.whom}


GREET = Action("greet", "Greets somebody.", Greeting, Permission("greeting.send", Role.MEMBER), greet)


def test_an_action_is_found_by_its_name_and_reads_its_arguments() -> None:
    actions = Actions()
    actions.add(GREET)
    assert actions.get("greet") is GREET
    assert list(actions) == [GREET]
    assert actions.read("greet", {"whom": "Ada"}) == Greeting(whom="Ada")


def test_an_unknown_action_and_wrong_arguments_are_refused_by_name() -> None:
    actions = Actions()
    with pytest.raises(InvalidInput, match="there is no action 'greet'; there are: none"):
        actions.get("greet")
    actions.add(GREET)
    with pytest.raises(InvalidInput, match="there are: greet"):
        actions.get("g" * 1_000)
    with pytest.raises(InvalidInput) as refused:
        actions.read("greet", {"who": "Ada"})
    assert [fault["field"] for fault in refused.value.errors] == ["whom", "who"]
    with pytest.raises(ConfigurationError, match="two actions"):
        actions.add(GREET)


def test_an_actions_idempotency_key_is_its_place_in_its_run() -> None:
    run, event = UUID(int=7), UUID(int=8)
    assert ActionCall(run, 2, event).idempotency_key == f"{run}:2"
    assert ActionCall(run, 2, event).idempotency_key == ActionCall(run, 2, UUID(int=9)).idempotency_key
