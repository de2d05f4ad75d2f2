"""What a version of a rule may say, and must be before it is published: checked while no transaction is open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from datalane.contracts.context import Context
from datalane.engine.actions import Actions
from datalane.errors import InvalidInput, LimitExceeded
from datalane.integrations.automation.conditions import Conditions, Expression
from datalane.integrations.automation.schemas import ActionList, DescribedAction, RuleAction
from datalane.integrations.automation.templates import check_literals, find_expressions
from datalane.integrations.permissions import READ_AUTOMATION
from datalane.kit.jsonlimits import encode_within
from datalane.settings import Limits

MOST_EXPRESSIONS = 100
"""Among the arguments of one version."""


@dataclass(frozen=True, slots=True)
class CheckedVersion:
    """`actions` as they are stored."""

    condition: str
    actions: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Publishing:
    """What versions are checked with."""

    conditions: Conditions
    actions: Actions
    limits: Limits

    async def check(self, context: Context, condition: str, steps: Sequence[RuleAction]) -> CheckedVersion:
        """Raises `InvalidInput` naming what is wrong, `LimitExceeded`, `ConditionsUnavailable`, and `Forbidden` for an
        action that the publisher may not do."""
        stored = [{"action": step.action, "arguments": step.arguments} for step in steps]
        encode_within(stored, "the list of actions", self.limits.event_payload, self.limits.event_payload_depth)
        expressions = [found for place, step in enumerate(steps) for found in self._check_step(context, place, step)]
        if len(expressions) > MOST_EXPRESSIONS:
            raise LimitExceeded(f"{len(expressions)} expressions in the arguments, the limit is {MOST_EXPRESSIONS}")
        await self.conditions.check(Expression("condition", condition), boolean=True)
        for expression in expressions:
            await self.conditions.check(expression)
        return CheckedVersion(condition, stored)

    def _check_step(self, context: Context, place: int, step: RuleAction) -> list[Expression]:
        where = f"actions.{place}"
        try:
            action = self.actions.get(step.action)
        except InvalidInput as error:
            fault = {"field": f"{where}.action", "message": str(error), "code": "unknown_action"}
            raise InvalidInput(str(error), [fault]) from error
        action.needs.check(context)
        check_literals(self.actions, step.action, step.arguments, f"{where}.arguments")
        return list(find_expressions(step.arguments, f"{where}.arguments"))


def list_actions(context: Context, actions: Actions) -> ActionList:
    """What rules may do, by name."""
    READ_AUTOMATION.check(context)
    return ActionList(
        data=[
            DescribedAction(
                name=action.name,
                description=action.description,
                permission=action.needs.name,
                arguments=action.arguments.model_json_schema(),
            )
            for action in actions
        ]
    )


@contextmanager
def faults_within(place: str) -> Iterator[None]:
    """What is wrong is named by where the caller said it."""
    try:
        yield
    except InvalidInput as error:
        faults = [{**fault, "field": f"{place}.{fault['field']}"} for fault in error.errors]
        raise InvalidInput(str(error), faults) from error


def check_permissions(actions: Actions, context: Context, stored: Sequence[dict[str, Any]]) -> None:
    """Whether the caller may do what the actions do. Raises `Forbidden`, and `InvalidInput` for one that is gone."""
    for step in stored:
        actions.get(step["action"]).needs.check(context)
