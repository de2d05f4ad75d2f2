"""A lane with the routes of agents, and what publishes tools and rules in a workspace."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from fastapi import FastAPI
from tests.apps import shared_app
from tests.conftest import a_context
from tests.integration.api.conftest import OpenLane, ada, bob, client, join, sign_up

from datalane.agents import routes
from datalane.agents.tools import deciding, rules, service
from datalane.agents.tools.deciding import ToolCall
from datalane.agents.tools.policy import Approval, Decision, InvalidArguments
from datalane.agents.tools.schemas import NewToolRule, PublishedTool, ToolRule, ToolToPublish
from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.domains import PERMISSIONS, make_runtime
from datalane.settings import Settings

assert PERMISSIONS  # tools may ask for the scopes of every slice

__all__ = ["ada", "bob", "client", "join", "sign_up"]

INPUT: dict[str, Any] = {
    "type": "object",
    "properties": {"to": {"type": "string", "minLength": 1}, "copies": {"type": "integer", "maximum": 3}},
    "required": ["to"],
    "additionalProperties": False,
}
MAIL: dict[str, Any] = {
    "tool_name": "mail.send",
    "description": "Sends a letter.",
    "input_schema": INPUT,
    "side_effect": "external",
    "approval": "never",
}
RULE: dict[str, Any] = {"effect": "deny", "tool_pattern": "mail.*", "reason": "no mail today"}


@dataclass
class Workshop:
    """A workspace; every method is a transaction of its own, as its admin."""

    database: Database
    context: Context

    async def publish(self, **said: Any) -> PublishedTool:
        async with self.database.transaction(self.context) as tx:
            return await service.publish_tool(tx, ToolToPublish(**{**MAIL, **said}))

    async def rule(self, **said: Any) -> ToolRule:
        async with self.database.transaction(self.context) as tx:
            return await rules.create_rule(tx, NewToolRule(**{**RULE, **said}))

    async def decide(
        self,
        name: str = "mail.send",
        arguments: dict[str, Any] | None = None,
        role: Role = Role.MEMBER,
        scopes: frozenset[str] | None = None,
        approval: Approval | None = None,
    ) -> Decision | InvalidArguments:
        call = ToolCall({"to": "ada"} if arguments is None else arguments, approval=approval)
        asked_by = replace(self.context, role=role, scopes=scopes)
        async with self.database.transaction(replace(self.context, role=role)) as tx:
            return deciding.decide_call(tx, await deciding.read_for_decision(tx, name), call, asked_by)

    async def order(self) -> list[str]:
        """The reasons of the rules that are there."""
        async with self.database.transaction(self.context) as tx:
            listed = await rules.list_rules(tx)
        assert [rule.position for rule in listed.data] == list(range(1, len(listed.data) + 1))
        return [rule.reason for rule in listed.data]

    async def rows(self, sql: str, *arguments: Any) -> list[tuple[Any, ...]]:
        async with self.database.transaction(self.context) as tx:
            return [tuple(row) for row in await tx.fetch(sql, *arguments)]

    def elsewhere(self) -> Workshop:
        """The same lane, another workspace."""
        return Workshop(self.database, a_context(role=Role.ADMIN))


def said(decided: Decision | InvalidArguments) -> tuple[str, str, int]:
    """The outcome, and the rule that decided with its version."""
    assert isinstance(decided, Decision), decided
    return decided.outcome, decided.rule_id, decided.rule_version


@pytest.fixture
def workshop(database: Database) -> Workshop:
    return Workshop(database, a_context(role=Role.ADMIN))


@pytest.fixture
def lane(database: Database) -> OpenLane:
    return OpenLane(database, Settings())


@pytest.fixture
def app(lane: OpenLane) -> FastAPI:
    return shared_app(lane, routes.router, agents=make_runtime(lane.settings).agents)
