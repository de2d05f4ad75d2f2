"""Routes of rules and their runs."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from datalane.contracts.context import Context
from datalane.contracts.http import Door, LateTransaction
from datalane.contracts.plans import Plans
from datalane.contracts.replay import Replayed
from datalane.db.transaction import Transaction
from datalane.integrations.automation import runs, service, trying
from datalane.integrations.automation.publishing import faults_within, list_actions
from datalane.integrations.automation.schemas import (
    ActionList,
    AutomationRunPage,
    AutomationRunWithActions,
    AutomationSwitch,
    DryRun,
    DryRunResult,
    NewRule,
    NewRuleVersion,
    Rule,
    RulePage,
    RuleTarget,
    RuleToDisable,
    RuleWithVersions,
    RunChoice,
    RunStatus,
    SwitchAutomation,
)
from datalane.integrations.permissions import MANAGE_RULES, READ_AUTOMATION, REPLAY_RUNS, SWITCH_AUTOMATION
from datalane.integrations.runtime import Integrations

Asked = Annotated[str | None, Query(min_length=1, max_length=200)]


def router(door: Door, integrations: Integrations) -> APIRouter:
    routes = door.router(prefix="/automation", tags=["automation"])
    _add_rule_commands(routes, door, integrations)
    _add_rule_reads(routes, door, integrations)
    _add_run_routes(routes, door)
    return routes


def _add_rule_commands(routes: APIRouter, door: Door, integrations: Integrations) -> None:
    @routes.post("/rules/create", status_code=201)
    async def create(body: NewRule, late: LateTransaction = door.preparer(MANAGE_RULES)) -> Rule:
        """Make a rule with its first version."""
        service.check_event_type(body.event_type)
        with faults_within("body"):
            version = await integrations.publishing.check(late.context, body.condition, body.actions)
        return await service.create_rule(await late.begin(), body, version)

    @routes.post("/rules/publish")
    async def publish(body: NewRuleVersion, late: LateTransaction = door.preparer(MANAGE_RULES)) -> Rule:
        """Publish another version, for events that come from now on."""
        with faults_within("body"):
            version = await integrations.publishing.check(late.context, body.condition, body.actions)
        return await service.publish_version(await late.begin(), body, version)

    @routes.post("/rules/enable")
    async def enable(body: RuleTarget, tx: Transaction = door.writer(MANAGE_RULES)) -> Rule:
        """Run the rule for events that come from now on."""
        return await service.enable_rule(tx, integrations.actions, body.rule_id)

    @routes.post("/rules/disable")
    async def disable(body: RuleToDisable, tx: Transaction = door.writer(MANAGE_RULES)) -> Rule:
        """Stop the rule at its next claim."""
        return await service.disable_rule(tx, body.rule_id, body.reason)

    @routes.post("/rules/dry-run")
    async def dry_run(body: DryRun, context: Context = door.caller(MANAGE_RULES)) -> DryRunResult:
        """What a rule would do because of a stored event; nothing is done."""
        return await trying.try_rule(door.transaction(context), integrations.publishing, body)

    @routes.post("/switch")
    async def switch(body: SwitchAutomation, tx: Transaction = door.writer(SWITCH_AUTOMATION)) -> AutomationSwitch:
        """Let the rules of the workspace run, or stop them all at their next claim."""
        return await service.switch_automation(tx, body)


def _add_rule_reads(routes: APIRouter, door: Door, integrations: Integrations) -> None:
    limits = door.settings.limits
    size = Query(min(25, limits.page_size), ge=1, le=limits.page_size)

    @routes.get("/actions/list")
    async def describe_actions(context: Context = door.caller(READ_AUTOMATION)) -> ActionList:
        """What rules may do: each action with its arguments as JSON Schema, and the permission that it takes."""
        return list_actions(context, integrations.actions)

    @routes.get("/rules")
    async def list_rules(
        event_type: Asked = None,
        enabled: bool | None = None,
        page_size: int = size,
        cursor: str | None = None,
        tx: Transaction = door.reader(READ_AUTOMATION, plans=Plans.OWN),
    ) -> RulePage:
        """Rules with their current versions, the newest first, and the switch of the workspace."""
        return await service.list_rules(tx, event_type, enabled, cursor, page_size)

    @routes.get("/rules/{rule_id}")
    async def get_rule(rule_id: UUID, tx: Transaction = door.reader(READ_AUTOMATION)) -> RuleWithVersions:
        """One rule with its versions."""
        return await service.get_rule(tx, rule_id)


def _add_run_routes(routes: APIRouter, door: Door) -> None:
    limits = door.settings.limits
    size = Query(min(25, limits.page_size), ge=1, le=limits.page_size)

    @routes.get("/runs")
    async def list_runs(
        rule_id: UUID | None = None,
        event_id: UUID | None = None,
        status: RunStatus | None = None,
        page_size: int = size,
        cursor: str | None = None,
        tx: Transaction = door.reader(READ_AUTOMATION, plans=Plans.OWN),
    ) -> AutomationRunPage:
        """Runs, the newest first."""
        return await runs.list_runs(tx, runs.RunFilter(rule_id, event_id, status), cursor, page_size)

    @routes.get("/runs/{run_id}")
    async def get_run(run_id: UUID, tx: Transaction = door.reader(READ_AUTOMATION)) -> AutomationRunWithActions:
        """One run with what each action did."""
        return await runs.get_run(tx, run_id)

    @routes.post("/runs/replay")
    async def replay(body: RunChoice, tx: Transaction = door.writer(REPLAY_RUNS)) -> Replayed:
        """Have runs taken up again that were skipped, failed or are dead letters: some by id, or all that match."""
        return await runs.replay_runs(tx, body)
