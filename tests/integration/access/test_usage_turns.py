"""Uses of many workspaces that wait for the same few connections: each in its own transaction, whoever gives up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from tests.conftest import a_context
from tests.integration.access.conftest import plans_of
from tests.integration.db.test_turns import WAITING
from tests.integration.engine.lab import eventually

from datalane.access.entitlements.plans import Plan, Quota, Window, register_plans
from datalane.access.entitlements.service import assign_plan
from datalane.access.usage import service
from datalane.access.usage.enforcing import Usage
from datalane.contracts.context import Context, Role
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.engine.registration import register
from datalane.errors import Forbidden, UsageLimitReached

LIMIT, WORKSPACES, TIMES = 3, 12, 5
FEW = Plan("few", (), {"calls": Quota(LIMIT, "month")})


@pytest.fixture
async def narrow(urls: Prepared) -> AsyncIterator[Database]:
    """A lane with two connections, of which uses have one."""
    connected = await Database.connect(urls.database_url, size=2)
    yield connected
    await connected.close()


async def with_plans(database: Database) -> list[Context]:
    contexts = [a_context() for _ in range(WORKSPACES)]
    await register(database, {}, [], list(EVENTS))
    await register_plans(database, plans_of(FEW))
    for context in contexts:
        async with database.transaction(Context.system(context.workspace_id)) as tx:
            await assign_plan(tx, "few")
    return contexts


async def test_uses_that_hand_one_connection_on_count_each_in_its_own_workspace(narrow: Database) -> None:
    contexts, told = await with_plans(narrow), Counter[object]()
    usage = Usage(narrow)

    async def use(context: Context) -> None:
        try:
            await usage.consume(context, "calls")
            told[context.workspace_id] += 1
        except UsageLimitReached:
            told["refused"] += 1

    viewer = a_context(contexts[0].workspace_id, Role.VIEWER)
    refused = asyncio.create_task(usage.consume(viewer, "calls"))
    tasks = [asyncio.create_task(use(context)) for _ in range(TIMES) for context in contexts]
    given_up = [asyncio.create_task(usage.consume(context, "calls")) for context in contexts]
    await asyncio.sleep(0)
    for task in given_up:
        task.cancel()
    await asyncio.gather(*tasks)
    assert {type(each) for each in await asyncio.gather(*given_up, return_exceptions=True)} == {asyncio.CancelledError}
    with pytest.raises(Forbidden):
        await refused
    assert told.pop("refused") == WORKSPACES * (TIMES - LIMIT)
    assert told == {context.workspace_id: LIMIT for context in contexts}
    for context in contexts:
        async with narrow.transaction(context) as tx:
            counter = await service.get_counter(tx, "calls")
            assert counter is not None
            assert counter.consumed_units == LIMIT
            assert await service.find_differences(tx) == []


async def test_two_first_uses_that_read_different_windows_open_one_counter(database: Database) -> None:
    mine = a_context()

    async def sell_by(window: Window) -> None:
        await register_plans(database, plans_of(Plan("free", (), {"calls": Quota(10, window)}, default=True)))

    async def use(key: str) -> int:
        async with database.transaction(mine) as tx:
            return (await service.use(tx, "calls", idempotency_key=key)).consumed_units

    await register(database, {}, [], list(EVENTS))
    await sell_by("day")
    looking = await database.direct_connection()
    try:
        async with database.transaction(mine) as tx:
            await service.use(tx, "calls", idempotency_key="1")
            await asyncio.create_task(sell_by("hour"))
            second = asyncio.create_task(use("2"))
            await eventually(lambda: looking.fetchval(WAITING))
    finally:
        await looking.close()
    assert await second == 2
    assert await use("3") == 3
