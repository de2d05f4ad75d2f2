"""A workspace with rules, a worker that runs them, and actions whose effects can be counted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from tests.apps import shared_app
from tests.conftest import a_context
from tests.integration.api.conftest import OpenLane, ada, bob, client, join, sign_up
from tests.integration.engine.lab import eventually
from tests.integration.engine.workers import AT_ONCE, quick, working

from datalane.contracts.context import Context, Role
from datalane.contracts.registry import EVENTS
from datalane.contracts.replay import Replayed
from datalane.db.database import Database
from datalane.db.transaction import Transaction
from datalane.engine.actions import Action, ActionCall, Actions
from datalane.engine.desk import Desk
from datalane.engine.events import publish
from datalane.engine.handlers import Handlers, Job
from datalane.engine.permissions import PUBLISH
from datalane.engine.registration import register
from datalane.errors import IllegalTransition, InvalidInput
from datalane.integrations import routes
from datalane.integrations.automation import runs, service
from datalane.integrations.automation.execution import Execution
from datalane.integrations.automation.schemas import (
    AutomationRunWithActions,
    NewRule,
    NewRuleVersion,
    Rule,
    RuleAction,
    RunChoice,
    SwitchAutomation,
)
from datalane.integrations.automation.service import KIND
from datalane.integrations.runtime import Integrations, make_integrations
from datalane.settings import Settings
from datalane.work.items.actions import register_actions as register_item_actions

__all__ = ["ada", "bob", "client", "join", "sign_up"]

ENDED = ("completed", "skipped", "failed", "dead_letter")


class Note(BaseModel):
    """What the action `note` takes. It fails, in the given way, so many times."""

    model_config = ConfigDict(extra="forbid")

    text: str
    fails: int = 0
    how: str = "retryable"


@dataclass
class Notes:
    """The action `note` leaves an event `note.left`; `tries` counts its calls by their text. What is to fail
    `until_mended` does so until then."""

    mended: bool = False
    tries: dict[str, int] = field(default_factory=dict)

    async def leave(self, tx: Transaction, note: Note, call: ActionCall) -> Mapping[str, Any]:
        tried = self.tries[note.text] = self.tries.get(note.text, 0) + 1
        await publish(tx, "note.left", {"text": note.text, "key": call.idempotency_key})
        if note.how == "until_mended" and not self.mended:
            raise InvalidInput("this note is none yet")
        if note.how != "until_mended" and tried <= note.fails:
            raise {
                "retryable": RuntimeError("not this time"),
                "invalid": InvalidInput("this note is none"),
                "conflict": IllegalTransition("this note is over"),
            }[note.how]
        return {"text": note.text}


@dataclass
class Shop:
    """A workspace; every method is a transaction of its own, as its admin."""

    database: Database
    integrations: Integrations
    context: Context
    notes: Notes

    @property
    def execution(self) -> Execution:
        return Execution(self.database, self.integrations.conditions, self.integrations.actions)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """A worker for the time of the block, which tries again at once."""
        handlers = Handlers()
        self.execution.register(handlers)
        handlers._by_kind[KIND] = replace(handlers.get(KIND), retry=AT_ONCE)
        async with working(self.database, handlers, quick()):
            yield

    async def rule(self, *steps: tuple[str, dict[str, Any]], condition: str = "true", **said: Any) -> Rule:
        actions = [RuleAction(action=name, arguments=arguments) for name, arguments in steps]
        new = NewRule(**{"name": "A rule", "event_type": "invoice.paid", **said}, condition=condition, actions=actions)
        version = await self.integrations.publishing.check(self.context, condition, actions)
        async with self.database.transaction(self.context) as tx:
            return await service.create_rule(tx, new, version)

    async def publish_version(self, rule: Rule, *steps: tuple[str, dict[str, Any]], condition: str = "true") -> Rule:
        actions = [RuleAction(action=name, arguments=arguments) for name, arguments in steps]
        new = NewRuleVersion(
            rule_id=rule.rule_id, current_version=rule.current_version, condition=condition, actions=actions
        )
        version = await self.integrations.publishing.check(self.context, condition, actions)
        async with self.database.transaction(self.context) as tx:
            return await service.publish_version(tx, new, version)

    async def disable(self, rule: Rule) -> Rule:
        async with self.database.transaction(self.context) as tx:
            return await service.disable_rule(tx, rule.rule_id, "not today")

    async def enable(self, rule: Rule) -> Rule:
        async with self.database.transaction(self.context) as tx:
            return await service.enable_rule(tx, self.integrations.actions, rule.rule_id)

    async def switch(self, enabled: bool) -> None:
        async with self.database.transaction(self.context) as tx:
            await service.switch_automation(tx, SwitchAutomation(enabled=enabled, reason="an incident"))

    async def pay(self, invoice: int = 7, **said: Any) -> UUID:
        """An event `invoice.paid`."""
        async with self.database.transaction(self.context) as tx:
            return (await publish(tx, "invoice.paid", {"invoice": invoice, **said})).event_id

    async def runs(self, *statuses: str, **asked: Any) -> list[AutomationRunWithActions]:
        async with self.database.transaction(self.context) as tx:
            found = await runs.list_runs(tx, runs.RunFilter(**asked), None, 100)
            return [await runs.get_run(tx, run.run_id) for run in found.data if not statuses or run.status in statuses]

    async def ended(self, count: int = 1, *statuses: str, **asked: Any) -> list[AutomationRunWithActions]:
        """The runs, the newest first, once so many have come to one of `statuses` (default: any end)."""

        async def there() -> list[AutomationRunWithActions] | None:
            found = await self.runs(*(statuses or ENDED), **asked)
            return found if len(found) >= count else None

        found = await eventually(there)
        assert found is not None
        assert len(found) == count
        return found

    async def replay(self, **asked: Any) -> Replayed:
        async with self.database.transaction(self.context) as tx:
            return await runs.replay_runs(tx, RunChoice(**asked))

    async def left(self) -> list[str]:
        """The texts of the notes that are there."""
        rows = await self.rows("SELECT payload ->> 'text' FROM datalane.events WHERE event_type = 'note.left'")
        return sorted(row[0] for row in rows)

    async def rows(self, sql: str, *arguments: Any) -> list[tuple[Any, ...]]:
        async with self.database.transaction(self.context) as tx:
            return [tuple(row) for row in await tx.fetch(sql, *arguments)]

    def elsewhere(self) -> Shop:
        """The same lane, another workspace."""
        return Shop(self.database, self.integrations, a_context(role=Role.ADMIN), self.notes)


class Call(BaseModel):
    connector_id: UUID


async def _call(tx: Transaction, wanted: Call, call: ActionCall) -> Mapping[str, Any]:
    return {}


def add_connector_action(actions: Actions) -> None:
    """An action that names a connector."""
    actions.add(Action("call", "Calls a connector.", Call, PUBLISH, _call))


@pytest.fixture
async def lane(database: Database) -> OpenLane:
    EVENTS.register(
        "invoice.paid",
        {"type": "object", "properties": {"invoice": {"type": "integer"}}, "required": ["invoice"]},
    )
    EVENTS.register("note.left", {"type": "object"})
    await register(database, {}, [], list(EVENTS))
    return OpenLane(database, Settings())


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
async def integrations(lane: OpenLane, notes: Notes) -> AsyncIterator[Integrations]:
    actions = Actions()
    actions.add(Action("note", "Leaves a note.", Note, PUBLISH, notes.leave))
    register_item_actions(actions)
    made = make_integrations(lane.settings, actions)
    yield made
    await made.aclose()


@pytest.fixture
def app(lane: OpenLane, integrations: Integrations) -> FastAPI:
    return shared_app(lane, routes.router, integrations=integrations)


@pytest.fixture
def shop(database: Database, integrations: Integrations, notes: Notes) -> Shop:
    return Shop(database, integrations, a_context(role=Role.ADMIN), notes)


def note(text: Any = "paid", **said: Any) -> tuple[str, dict[str, Any]]:
    return "note", {"text": text, **said}


def cel(text: str) -> dict[str, str]:
    return {"cel": text}


async def no_jobs(shop: Shop) -> None:
    """Wait until no job of the workspace is left to do."""

    async def none_left() -> bool:
        [(left,)] = await shop.rows(
            "SELECT count(*) FROM datalane.jobs WHERE status IN ('queued', 'processing', 'retrying')"
        )
        return bool(left == 0)

    await eventually(none_left)


async def claimed(shop: Shop) -> list[Job]:
    """The jobs of runs, as a worker that claims them has them."""
    desk = Desk(shop.database, "test", lambda: None)
    try:
        await desk.register({KIND: None}, [], [])
        return await desk.claim([KIND], 100, timedelta(seconds=60))
    finally:
        await desk.close()
