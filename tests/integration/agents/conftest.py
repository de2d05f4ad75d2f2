"""A desk at the ledger of agents: a member of a workspace, with the event types known."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from tests.integration.agents.desk import TOOLS, LedgerDesk

from datalane.contracts.context import Context
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.engine.registration import register


@pytest.fixture
async def desk(database: Database, context: Context) -> LedgerDesk:
    await register(database, {}, [], list(EVENTS))
    desk = LedgerDesk(database, context)
    await desk.publish(*TOOLS)
    return desk


@pytest.fixture
async def maintenance(urls: Prepared) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(urls.maintenance_url)
    yield connection
    await connection.close()
