"""Deliveries, held ones that came in and the history of connectors are kept for a time, and forgotten then in bites."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
from pydantic import SecretStr
from tests.conftest import a_context
from tests.integration.engine.lab import eventually
from tests.integration.integrations.connecting import connect
from tests.integration.integrations.hooks import Hooks, register_types

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.domains import maintenance_duties
from datalane.engine.maintenance import run_maintenance
from datalane.integrations.forgetting import Forgotten, forget_once
from datalane.kit.clock import utc_now
from datalane.kit.ids import first_uuid7, uuid7
from datalane.settings import Retention, Settings

NOTHING = Forgotten(0, 0, 0)
KEPT = Retention()
OLD, YOUNG = timedelta(days=91), timedelta(days=89)
NOBODY = "http://127.0.0.1:9/"


@pytest.fixture
async def hooks(database: Database, context: Context) -> Hooks:
    await register_types(database)
    return Hooks.of(database, context)


@pytest.fixture
async def keeper(urls: Prepared) -> AsyncIterator[asyncpg.Connection]:
    """The maintenance login."""
    connection = await asyncpg.connect(urls.maintenance_url)
    yield connection
    await connection.close()


async def deliver(
    hooks: Hooks, endpoint_id: UUID, age: timedelta, status: str, *, held: bool = False, attempts: int = 2
) -> UUID:
    """A delivery that was made so long ago."""
    at = utc_now() - age
    delivery_id = made_at(at)
    ended_at = at if status in {"delivered", "dead_letter"} else None
    async with hooks.database.transaction(hooks.admin) as tx:
        await tx.execute(
            "INSERT INTO datalane.webhook_deliveries (workspace_id, delivery_id, endpoint_id, event_type, message_id, "
            "body, once_key, status, held, attempt_count, created_at, updated_at, ended_at, correlation_id) "
            "VALUES ($1, $2, $3, 'invoice.paid', 'm', '{}', $4, $5, $6, $7, $8, $8, $9, 'c')",
            *(tx.workspace_id, delivery_id, endpoint_id, f"asked:{delivery_id}", status, held, attempts, at, ended_at),
        )
        for attempt in range(1, attempts + 1):
            await tx.execute(
                "INSERT INTO datalane.webhook_attempts (workspace_id, delivery_id, attempt, began_at) "
                "VALUES ($1, $2, $3, $4)",
                *(tx.workspace_id, delivery_id, attempt, at),
            )
    return delivery_id


def made_at(moment: datetime) -> UUID:
    """An id of that moment."""
    return UUID(int=first_uuid7(moment).int | uuid7().int & ((1 << 62) - 1))


async def left(hooks: Hooks) -> tuple[set[UUID], set[UUID]]:
    """The deliveries that are there, and those that have attempts."""
    deliveries = await hooks.rows("SELECT delivery_id FROM datalane.webhook_deliveries")
    attempts = await hooks.rows("SELECT delivery_id FROM datalane.webhook_attempts")
    return {row[0] for row in deliveries}, {row[0] for row in attempts}


async def test_what_ended_or_is_held_goes_when_it_is_old_and_what_goes_on_stays(
    hooks: Hooks, keeper: asyncpg.Connection
) -> None:
    endpoint_id = (await hooks.create(NOBODY)).endpoint.endpoint_id
    for status in ("delivered", "dead_letter"):
        await deliver(hooks, endpoint_id, OLD, status)
    for status in ("pending", "failed"):
        await deliver(hooks, endpoint_id, OLD, status, held=True)
    kept = {await deliver(hooks, endpoint_id, OLD, status) for status in ("pending", "failed")}
    kept |= {await deliver(hooks, endpoint_id, YOUNG, status) for status in ("pending", "delivered", "dead_letter")}
    kept.add(await deliver(hooks, endpoint_id, YOUNG, "pending", held=True))
    assert await forget_once(keeper, utc_now(), KEPT) == replace(NOTHING, webhook_deliveries=4)
    assert await left(hooks) == (kept, kept)
    assert await forget_once(keeper, utc_now(), KEPT) == NOTHING


async def test_every_workspace_is_walked_in_bites_and_a_run_has_an_end(
    hooks: Hooks, keeper: asyncpg.Connection
) -> None:
    both = [hooks, replace(hooks, admin=a_context(role=Role.ADMIN))]
    for each in both:
        endpoint_id = (await each.create(NOBODY)).endpoint.endpoint_id
        for _ in range(5):
            await deliver(each, endpoint_id, OLD, "delivered", attempts=1)
    runs = [(await forget_once(keeper, utc_now(), KEPT, bite=2, bites=3)).webhook_deliveries for _ in range(3)]
    assert runs == [6, 4, 0]
    assert [await left(each) for each in both] == [(set(), set())] * 2


async def test_a_delivery_that_somebody_has_in_hand_waits_for_the_next_run(
    hooks: Hooks, keeper: asyncpg.Connection
) -> None:
    endpoint_id = (await hooks.create(NOBODY)).endpoint.endpoint_id
    taken = await deliver(hooks, endpoint_id, OLD, "failed", held=True)
    await deliver(hooks, endpoint_id, OLD, "failed", held=True)
    async with hooks.database.transaction(hooks.admin) as tx:
        await tx.execute("UPDATE datalane.webhook_deliveries SET held = false WHERE delivery_id = $1", taken)
        assert (await forget_once(keeper, utc_now(), KEPT)).webhook_deliveries == 1
    assert await forget_once(keeper, utc_now(), KEPT) == NOTHING
    assert await left(hooks) == ({taken}, {taken})


async def hold(hooks: Hooks, connector_id: UUID, age: timedelta, status: str) -> UUID:
    """A delivery that came in so long ago and was held."""
    at = utc_now() - age
    held_id, decided_at = made_at(at), None if status == "held" else at
    async with hooks.database.transaction(hooks.admin) as tx:
        await tx.execute(
            "INSERT INTO datalane.inbound_held (workspace_id, held_id, connector_id, delivery_id, like_delivery_id, "
            "payload, status, received_at, decided_at) VALUES ($1, $2, $3, $4, 'd', $5, $6, $7, $8)",
            *(tx.workspace_id, held_id, connector_id, str(held_id), None if decided_at else {}, status, at, decided_at),
        )
    return held_id


async def test_what_came_in_and_was_held_goes_when_it_is_decided_and_old(
    hooks: Hooks, keeper: asyncpg.Connection
) -> None:
    kept = []
    for each in (hooks, replace(hooks, admin=a_context(role=Role.ADMIN))):
        connector_id = (await connect(each.database, each.admin)).connector_id
        await each.rows(
            "INSERT INTO datalane.inbound_webhooks (workspace_id, connector_id, token_digest, rule, secret_names, "
            "status, created_at, updated_at, updated_by_actor_id) "
            "VALUES ($1, $2, sha256('t'), '{}', '{}', 'open', now(), now(), $2)",
            *(each.admin.workspace_id, connector_id),
        )
        for status in ("released", "dismissed"):
            await hold(each, connector_id, OLD, status)
        young = [await hold(each, connector_id, YOUNG, status) for status in ("released", "held")]
        kept.append((each, {await hold(each, connector_id, OLD, "held"), *young}))
    assert await forget_once(keeper, utc_now(), KEPT, bite=3) == replace(NOTHING, held_deliveries=4)
    for each, ids in kept:
        assert {row[0] for row in await each.rows("SELECT held_id FROM datalane.inbound_held")} == ids


async def test_the_history_of_connectors_goes_when_it_is_old(hooks: Hooks, keeper: asyncpg.Connection) -> None:
    workspaces = [hooks.admin, a_context(role=Role.ADMIN)]
    for context in workspaces:
        await connect(hooks.database, context)
    assert await forget_once(keeper, utc_now() + timedelta(days=364), KEPT) == NOTHING
    later = utc_now() + timedelta(days=366)
    assert await forget_once(keeper, later, KEPT, bite=1) == replace(NOTHING, connector_history=2)
    for context in workspaces:
        async with hooks.database.transaction(context) as tx:
            assert await tx.fetch("SELECT FROM datalane.connector_history") == []
            assert len(await tx.fetch("SELECT FROM datalane.connectors")) == 1


async def test_what_is_to_be_kept_for_longer_than_time_began_is_kept(hooks: Hooks, keeper: asyncpg.Connection) -> None:
    endpoint_id = (await hooks.create(NOBODY)).endpoint.endpoint_id
    await connect(hooks.database, hooks.admin)
    await deliver(hooks, endpoint_id, OLD, "delivered")
    ever = timedelta(days=365 * 200)
    assert await forget_once(keeper, utc_now(), Retention(deliveries=ever, connector_history=ever)) == NOTHING


async def test_the_maintenance_process_forgets(hooks: Hooks, urls: Prepared) -> None:
    endpoint_id = (await hooks.create(NOBODY)).endpoint.endpoint_id
    await deliver(hooks, endpoint_id, OLD, "delivered")
    stop, settings = asyncio.Event(), Settings(maintenance_url=SecretStr(urls.maintenance_url))
    process = asyncio.create_task(run_maintenance(settings, stop, duties=maintenance_duties(settings)))

    async def forgotten() -> bool:
        return await left(hooks) == (set(), set())

    await eventually(forgotten)
    stop.set()
    await process
    assert await left(hooks) == (set(), set())
