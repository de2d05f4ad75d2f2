"""Rules: written, published anew, enabled and disabled, and the switch of the workspace.

A rule has a subscription: an event of its type leaves one job in the transaction that publishes it, with the version
that is current then. Whether the rule is enabled and the workspace switched on is asked again when the job is claimed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID

from datalane.contracts.registry import EVENTS
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.actions import Actions
from datalane.engine.audit import record
from datalane.errors import Conflict, InvalidInput, LimitExceeded, NotFound, StaleVersion
from datalane.integrations.automation.publishing import CheckedVersion, check_permissions
from datalane.integrations.automation.schemas import (
    AutomationSwitch,
    NewRule,
    NewRuleVersion,
    Rule,
    RulePage,
    RuleVersion,
    RuleWithVersions,
    SwitchAutomation,
)
from datalane.integrations.connectors.service import hold_connected
from datalane.integrations.permissions import MANAGE_RULES, READ_AUTOMATION, SWITCH_AUTOMATION
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7

KIND = "automation.run"
CONNECTOR_ARGUMENT = "connector_id"
CONNECTOR_REVOKED = "a connector that it uses was revoked"

_queries = load_queries(__file__)


async def create_rule(tx: Transaction, new: NewRule, version: CheckedVersion, now: datetime | None = None) -> Rule:
    """A rule with its first version.

    Raises `Conflict` for a name that is taken, `LimitExceeded` for one rule too many, `InvalidInput` for an event type
    that is not registered and for a connector that is not there or was revoked.
    """
    MANAGE_RULES.check(tx.context)
    tx = tx.following()
    check_event_type(new.event_type)
    await hold_connected(tx, connectors_of(version.actions, "body."))
    await _queries.lock_rules(tx.connection, workspace_id=tx.workspace_id)
    if await _queries.count_rules(tx.connection, workspace_id=tx.workspace_id) >= tx.limits.rules:
        raise LimitExceeded(f"the workspace has {tx.limits.rules} rules already (limits.rules)")
    if await _queries.has_name(tx.connection, workspace_id=tx.workspace_id, name=new.name):
        raise Conflict("another rule has this name")
    rule_id, subscription_id, at = uuid7(), uuid7(), now or utc_now()
    await _queries.add_subscription(
        tx.connection,
        workspace_id=tx.workspace_id,
        subscription_id=subscription_id,
        event_type=new.event_type,
        kind=KIND,
        args=_args(rule_id, 1),
        enabled=new.enabled,
    )
    await _queries.add_rule(
        tx.connection,
        workspace_id=tx.workspace_id,
        rule_id=rule_id,
        name=new.name,
        event_type=new.event_type,
        enabled=new.enabled,
        subscription_id=subscription_id,
        now=at,
        actor_id=tx.context.actor_id,
    )
    await _add_version(tx, rule_id, 1, version, at)
    said = {"name": new.name, "event_type": new.event_type, "enabled": new.enabled, **_told(1, version.actions)}
    await record(tx, "automation_rule.created", "automation_rule", rule_id, after=said)
    return await _read(tx, rule_id)


async def publish_version(
    tx: Transaction, new: NewRuleVersion, version: CheckedVersion, now: datetime | None = None
) -> Rule:
    """What the rule says of events that are published from the commit on.

    Raises `NotFound`, `StaleVersion` when another version came meanwhile, `InvalidInput` for a connector as
    `create_rule`.
    """
    MANAGE_RULES.check(tx.context)
    tx = tx.following()
    await hold_connected(tx, connectors_of(version.actions, "body."))
    rule = await _lock(tx, new.rule_id)
    before = rule["current_version"]
    if new.current_version is not None and new.current_version != before:
        current = await _read(tx, new.rule_id)
        raise StaleVersion(f"the rule is at version {before}", {"current": current.model_dump(mode="json")})
    at, number = now or utc_now(), before + 1
    await _add_version(tx, new.rule_id, number, version, at)
    done = await _queries.set_version(
        tx.connection,
        workspace_id=tx.workspace_id,
        rule_id=new.rule_id,
        version=number,
        now=at,
        actor_id=tx.context.actor_id,
    )
    if done != "UPDATE 1":
        raise Conflict("the rule changed meanwhile; look again")
    await _subscribe(tx, rule["subscription_id"], new.rule_id, number, enabled=rule["enabled"])
    await record(
        tx,
        "automation_rule.published",
        "automation_rule",
        new.rule_id,
        before={"version": before},
        after=_told(number, version.actions),
    )
    return await _read(tx, new.rule_id)


async def enable_rule(tx: Transaction, actions: Actions, rule_id: UUID, now: datetime | None = None) -> Rule:
    """Run it for events that are published from the commit on.

    Raises `NotFound`, `Forbidden` for whoever may not do what its actions do, `InvalidInput` for a connector as
    `create_rule`, and `Conflict` when another version came meanwhile.
    """
    MANAGE_RULES.check(tx.context)
    current = await _read(tx, rule_id)
    steps = [step.model_dump() for step in current.actions]
    check_permissions(actions, tx.context, steps)
    await hold_connected(tx, connectors_of(steps))
    rule = await _lock(tx, rule_id)
    if rule["current_version"] != current.current_version:
        raise Conflict("another version of the rule was published meanwhile; look again")
    if not rule["enabled"]:
        await _set_enabled(tx.following(), rule, True, None, now)
    return await _read(tx, rule_id)


async def disable_rule(tx: Transaction, rule_id: UUID, reason: str | None = None, now: datetime | None = None) -> Rule:
    """Stop it: events leave nothing for it, and what they have left is skipped when it is claimed.

    Raises `NotFound`.
    """
    MANAGE_RULES.check(tx.context)
    rule = await _lock(tx, rule_id)
    if rule["enabled"]:
        await _set_enabled(tx.following(), rule, False, reason, now)
    return await _read(tx, rule_id)


async def pause_for_connector(tx: Transaction, connector_id: UUID, now: datetime | None = None) -> list[UUID]:
    """Disable every enabled rule whose current version names the connector in an action; answers their ids.

    A rule that computes the id from its events is not found: its action is refused when it runs.
    """
    MANAGE_RULES.check(tx.context)
    held = await _queries.lock_enabled_rules(tx.connection, workspace_id=tx.workspace_id)
    ids = [row["rule_id"] for row in held]
    rows = await _queries.read_rules(tx.connection, workspace_id=tx.workspace_id, rule_ids=ids)
    concerned = [row for row in rows if connector_id in connectors_of(row["actions"]).values()]
    for row in concerned:
        await _set_enabled(tx, row, False, CONNECTOR_REVOKED, now)
    return [row["rule_id"] for row in concerned]


async def switch_automation(tx: Transaction, said: SwitchAutomation, now: datetime | None = None) -> AutomationSwitch:
    """Let the rules of the workspace run, or none of them: what is claimed while it is off is skipped."""
    SWITCH_AUTOMATION.check(tx.context)
    tx = tx.following()
    before = await _read_switch(tx)
    await _queries.put_switch(
        tx.connection,
        workspace_id=tx.workspace_id,
        enabled=said.enabled,
        reason=said.reason,
        now=now or utc_now(),
        actor_id=tx.context.actor_id,
    )
    after = {"enabled": said.enabled, "reason": said.reason}
    await record(
        tx, "automation.switched", "automation", tx.workspace_id, before={"enabled": before.enabled}, after=after
    )
    return await _read_switch(tx)


async def get_rule(tx: Transaction, rule_id: UUID) -> RuleWithVersions:
    """Raises `NotFound`."""
    READ_AUTOMATION.check(tx.context)
    rule = await _read(tx, rule_id)
    rows = await _queries.list_versions(
        tx.connection, workspace_id=tx.workspace_id, rule_id=rule_id, most=tx.limits.page_size
    )
    return RuleWithVersions(**rule.model_dump(), versions=[RuleVersion(**row) for row in rows])


async def list_rules(
    tx: Transaction,
    event_type: str | None = None,
    enabled: bool | None = None,
    cursor: str | None = None,
    page_size: int = 25,
) -> RulePage:
    """Rules, the newest first. Raises `InvalidInput` for a cursor that is not this list's."""
    READ_AUTOMATION.check(tx.context)
    listing = f"rules:{event_type}:{enabled}"
    rows = await _queries.list_rules(
        tx.connection,
        workspace_id=tx.workspace_id,
        event_type=event_type,
        enabled=enabled,
        before=tx.read_id_cursor(listing, cursor),
        page_size=page_size + 1,
    )
    page, following = tx.cut_page(listing, rows, page_size, lambda row: [row["rule_id"]])
    return RulePage(
        data=[Rule(**row) for row in page], switch=await _read_switch(tx), page_size=page_size, next_cursor=following
    )


def check_event_type(name: str) -> None:
    """Raises `InvalidInput` for a type of which no version is registered."""
    if all(known.name != name for known in EVENTS):
        message = f"the event type {name} is not registered"
        raise InvalidInput(message, [{"field": "body.event_type", "message": message, "code": "unknown_event_type"}])


async def _lock(tx: Transaction, rule_id: UUID) -> Any:
    row = await _queries.lock_rule(tx.connection, workspace_id=tx.workspace_id, rule_id=rule_id)
    if row is None:
        raise NotFound("no such rule")
    return row


async def _read(tx: Transaction, rule_id: UUID) -> Rule:
    row = await _queries.get_rule(tx.connection, workspace_id=tx.workspace_id, rule_id=rule_id)
    if row is None:
        raise NotFound("no such rule")
    return Rule(**row)


async def _read_switch(tx: Transaction) -> AutomationSwitch:
    row = await _queries.get_switch(tx.connection, workspace_id=tx.workspace_id)
    if row is None:
        return AutomationSwitch(enabled=True, reason=None, changed_at=None, changed_by_actor_id=None)
    return AutomationSwitch(**row)


async def _add_version(tx: Transaction, rule_id: UUID, number: int, version: CheckedVersion, at: datetime) -> None:
    await _queries.add_version(
        tx.connection,
        workspace_id=tx.workspace_id,
        rule_id=rule_id,
        version=number,
        condition=version.condition,
        actions=version.actions,
        now=at,
        actor_id=tx.context.actor_id,
    )


async def _set_enabled(tx: Transaction, rule: Any, enabled: bool, reason: str | None, now: datetime | None) -> None:
    await _queries.set_enabled(
        tx.connection,
        workspace_id=tx.workspace_id,
        rule_id=rule["rule_id"],
        enabled=enabled,
        reason=reason,
        now=now or utc_now(),
        actor_id=tx.context.actor_id,
    )
    await _subscribe(tx, rule["subscription_id"], rule["rule_id"], rule["current_version"], enabled=enabled)
    what, after = ("enabled", None) if enabled else ("disabled", {"reason": reason})
    await record(tx, f"automation_rule.{what}", "automation_rule", rule["rule_id"], after=after)


async def _subscribe(tx: Transaction, subscription_id: UUID, rule_id: UUID, version: int, *, enabled: bool) -> None:
    await _queries.set_subscription(
        tx.connection,
        workspace_id=tx.workspace_id,
        subscription_id=subscription_id,
        args=_args(rule_id, version),
        enabled=enabled,
    )


def _args(rule_id: UUID, version: int) -> dict[str, Any]:
    return {"rule_id": str(rule_id), "rule_version": version}


def _told(version: int, actions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"version": version, "actions": [step["action"] for step in actions]}


def connectors_of(steps: Sequence[Mapping[str, Any]], within: str = "") -> dict[str, UUID]:
    """The connectors that actions name as literals, by the field, `within` what the caller sent. What is no id is left
    to the action."""
    said = {place: step["arguments"].get(CONNECTOR_ARGUMENT) for place, step in enumerate(steps)}
    found = {}
    for place, each in said.items():
        with suppress(ValueError):
            if isinstance(each, str):
                found[f"{within}actions.{place}.arguments.{CONNECTOR_ARGUMENT}"] = UUID(each)
    return found
