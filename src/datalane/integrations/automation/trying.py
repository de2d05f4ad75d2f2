"""Dry runs: what a rule would do because of a stored event. Nothing is written, and no action is called."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

from datalane.db.transaction import Transaction
from datalane.engine.actions import Actions
from datalane.engine.events import Event, get_event
from datalane.errors import InvalidInput, NotFound
from datalane.integrations.automation.conditions import ExpressionFailed
from datalane.integrations.automation.execution import decide
from datalane.integrations.automation.publishing import Publishing, faults_within
from datalane.integrations.automation.schemas import DryRun, DryRunResult, TriedAction, TriedRule
from datalane.integrations.automation.service import get_rule
from datalane.integrations.permissions import MANAGE_RULES


async def try_rule(
    transaction: AbstractAsyncContextManager[Transaction], publishing: Publishing, asked: DryRun
) -> DryRunResult:
    """Read in `transaction`, and decide once it is over.

    Raises `NotFound` for an event or a rule that is not there, and for a rule that is not kept as `Publishing.check`.
    """
    async with transaction as tx:
        MANAGE_RULES.check(tx.context)
        context = tx.context
        event, rule = await _read(tx, asked)
    if asked.rule_id is None:
        with faults_within("body.rule"):
            await publishing.check(context, rule.condition, rule.actions)
    steps = [step.model_dump(mode="json") for step in rule.actions]
    try:
        holds, calls = await decide(publishing.conditions, event, rule.condition, steps)
    except ExpressionFailed as failed:
        failure = failed.failure
        return DryRunResult(holds=None, error_class=failure.error_class, error_message=failure.message, actions=[])
    tried = [_tried(publishing.actions, name, dict(arguments)) for name, arguments in calls]
    return DryRunResult(holds=holds, error_class=None, error_message=None, actions=tried)


async def _read(tx: Transaction, asked: DryRun) -> tuple[Event, TriedRule]:
    event = await get_event(tx, asked.event_id)
    if event is None:
        raise NotFound("no such event")
    if asked.rule is not None:
        return event, asked.rule
    assert asked.rule_id is not None
    kept = await get_rule(tx, asked.rule_id)
    return event, TriedRule(condition=kept.condition, actions=kept.actions)


def _tried(actions: Actions, name: str, arguments: dict[str, Any]) -> TriedAction:
    try:
        actions.read(name, arguments)
    except InvalidInput as error:
        faults = "; ".join(f"{fault['field']}: {fault['message']}" for fault in error.errors)
        return TriedAction(action=name, arguments=arguments, error=faults or str(error))
    return TriedAction(action=name, arguments=arguments, error=None)
