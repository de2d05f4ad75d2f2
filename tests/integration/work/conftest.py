"""A desk: one workspace with a real owner, and what tests do there; and a board of items, laid by SQL."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from fastapi import FastAPI
from tests.apps import shared_app
from tests.integration.api.conftest import OpenLane, ada, client, sign_up
from tests.integration.work.board import Board, lay, people

from datalane.contracts.context import Context, Role
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.db.embedded import EmbeddedPostgres
from datalane.db.provision import Prepared
from datalane.db.transaction import Transaction
from datalane.engine.registration import register
from datalane.identity.accounts import sign_up as sign_up_account
from datalane.identity.schemas import NewAccount
from datalane.kit.ids import uuid7
from datalane.settings import SessionSettings, Settings
from datalane.work import routes as work_routes
from datalane.work.items import service as items
from datalane.work.items.schemas import Item, ItemChanges, ItemTarget, ItemTransition, ItemUpdate, NewItem

__all__ = ["ada", "client", "sign_up"]

FAULTS = Path(__file__).with_name("faults.sql")


@dataclass
class Desk:
    """Every method is a transaction of its own, as `context`."""

    database: Database
    context: Context

    def acting(self, role: Role) -> Desk:
        return Desk(self.database, replace(self.context, role=role))

    async def create(self, title: str = "Paint the fence", **said: Any) -> Item:
        async with self.database.transaction(self.context) as tx:
            return await items.create_item(tx, NewItem(title=title, **said))

    async def update(self, item: Item, on_conflict: Any = "fail", **changes: Any) -> Item:
        ask = ItemUpdate(
            item_id=item.item_id, version=item.version, changes=ItemChanges(**changes), on_conflict=on_conflict
        )
        async with self.database.transaction(self.context) as tx:
            return await items.update_item(tx, ask)

    async def move(self, item: Item, status: Any) -> Item:
        async with self.database.transaction(self.context) as tx:
            ask = ItemTransition(item_id=item.item_id, version=item.version, status=status)
            return await items.transition_item(tx, ask)

    async def delete(self, item: Item) -> Item:
        async with self.database.transaction(self.context) as tx:
            return await items.delete_item(tx, ItemTarget(item_id=item.item_id, version=item.version))

    async def restore(self, item: Item) -> Item:
        async with self.database.transaction(self.context) as tx:
            return await items.restore_item(tx, ItemTarget(item_id=item.item_id, version=item.version))

    async def get(self, item_id: UUID) -> Item:
        async with self.database.transaction(self.context) as tx:
            return await items.get_item(tx, item_id)

    async def rows(self, sql: str, *args: Any) -> list[tuple[Any, ...]]:
        async with self.database.transaction(self.context) as tx:
            return [tuple(row) for row in await tx.fetch(sql, *args)]

    async def faults(self) -> list[str]:
        """What does not fit together in the workspace, by an independent look at its tables."""
        async with self.database.transaction(self.context) as tx:
            return await find_faults(tx)


async def find_faults(tx: Transaction) -> list[str]:
    """Each statement of the file selects what breaks the rule of its first line."""
    found = []
    for statement in FAULTS.read_text().split(";\n"):
        if statement.strip():
            rule = statement.strip().splitlines()[0].removeprefix("-- ")
            found += [f"not so: {rule} {tuple(row)}" for row in (await tx.fetch(statement))[:5]]
    return found


@pytest.fixture
async def desk(database: Database) -> Desk:
    return await open_desk(database, "desk")


@pytest.fixture
async def other_desk(database: Database) -> Desk:
    return await open_desk(database, "other")


async def open_desk(database: Database, name: str) -> Desk:
    await register(database, {}, [], list(EVENTS))
    account = NewAccount(email=f"{name}@{uuid7().hex}.example.com", password="long enough to be good", name=name)
    session = await sign_up_account(database, account, sessions=SessionSettings(), correlation_id="desk")
    assert session.workspace_id is not None
    return Desk(database, Context(session.workspace_id, session.user_id, Role.OWNER))


@pytest.fixture
async def lane(database: Database) -> OpenLane:
    await register(database, {}, [], list(EVENTS))
    return OpenLane(database, Settings())


@pytest.fixture
def app(lane: OpenLane) -> FastAPI:
    return shared_app(lane, work_routes.router)


@pytest.fixture
def users(cluster: EmbeddedPostgres, urls: Prepared) -> tuple[list[UUID], list[UUID]]:
    """Two workspaces and the people who are in both."""
    workspaces = [uuid7(), uuid7()]
    return workspaces, people(cluster.url(urlsplit(urls.database_url).path.removeprefix("/")), workspaces, 2)


@pytest.fixture
async def board(database: Database, users: tuple[list[UUID], list[UUID]]) -> Board:
    return await lay(database, users[0][0], users[1])
