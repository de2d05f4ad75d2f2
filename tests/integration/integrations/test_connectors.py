"""Connectors: credentials go in and never come out, rotation keeps its history, revoking stops what depends on it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from pydantic import SecretStr
from tests.integration.engine.lab import START, after, ranked
from tests.integration.integrations.connecting import (
    OTHER_SECRET,
    SECRET,
    connect,
    everything_stored,
    look,
    published,
    report,
)

from datalane.contracts.context import Context, Role
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.db.embedded import EmbeddedPostgres
from datalane.db.provision import Prepared
from datalane.db.transaction import Transaction
from datalane.engine.audit import list_records
from datalane.engine.registration import register
from datalane.errors import Conflict, DatalaneError, Forbidden, IllegalTransition, InvalidInput, NotFound, StaleVersion
from datalane.integrations.connectors.credentials import use_credentials
from datalane.integrations.connectors.dependents import Dependents
from datalane.integrations.connectors.schemas import Connector, ConnectorRotation, ConnectorTarget, RevokedConnector
from datalane.integrations.connectors.service import list_history, revoke_connector, rotate_credentials
from datalane.kit.ids import uuid7

pytestmark = pytest.mark.one_database


@pytest.fixture(autouse=True)
async def known_types(database: Database) -> None:
    """What a starting worker makes known."""
    await register(database, {}, [], list(EVENTS))


async def rotate(
    database: Database,
    context: Context,
    connector_id: UUID,
    seen: int = 1,
    *,
    expires_at: datetime | None = None,
    now: datetime | None = None,
    **secrets: str,
) -> Connector:
    named = {name: SecretStr(secret) for name, secret in (secrets or {"token": OTHER_SECRET}).items()}
    rotation = ConnectorRotation(
        connector_id=connector_id, credential_version=seen, credentials=named, expires_at=expires_at
    )
    async with database.transaction(ranked(context, Role.ADMIN)) as tx:
        return await rotate_credentials(tx, rotation, now)


async def revoke(
    database: Database, context: Context, connector_id: UUID, dependents: Dependents | None = None
) -> RevokedConnector:
    async with database.transaction(ranked(context, Role.ADMIN)) as tx:
        return await revoke_connector(tx, ConnectorTarget(connector_id=connector_id), dependents or Dependents())


async def use(database: Database, context: Context, connector_id: UUID, role: Role = Role.SYSTEM) -> dict[str, str]:
    async with database.transaction(ranked(context, role)) as tx:
        return await use_credentials(tx, connector_id)


async def test_only_the_lane_s_own_jobs_are_handed_credentials(
    database: Database, context: Context, other_context: Context
) -> None:
    made = await connect(database, context)
    assert (made.status, made.credential_version, made.credential_names) == ("connected", 1, ["token"])
    assert await use(database, context, made.connector_id) == {"token": SECRET}
    for role in (Role.VIEWER, Role.MEMBER, Role.ADMIN, Role.OWNER):
        with pytest.raises(Forbidden):
            await use(database, context, made.connector_id, role)
    with pytest.raises(NotFound):
        await use(database, other_context, made.connector_id)


async def test_no_row_of_the_database_holds_a_credential(
    database: Database, context: Context, cluster: EmbeddedPostgres, urls: Prepared
) -> None:
    made = await connect(database, context)
    await report(
        database, context, made.connector_id, "rejected", after(1), now=after(1), detail=f"401 for {SECRET}, sorry"
    )
    await rotate(database, context, made.connector_id)
    stored = everything_stored(cluster.url(urls.database_url.rpartition("/")[2].partition("?")[0]))
    assert str(made.connector_id) in stored
    assert "401 for [redacted], sorry" in stored
    for secret in (SECRET, OTHER_SECRET):
        for written in (secret, secret.encode().hex(), base64.b64encode(secret.encode()).decode()):
            assert written not in stored


async def test_the_old_credentials_of_another_version_or_connector_do_not_open(
    database: Database, context: Context
) -> None:
    one, two = await connect(database, context, "one"), await connect(database, context, "two")
    copy = "SELECT sealed_credentials FROM datalane.connectors WHERE workspace_id = $1 AND connector_id = $2"
    put = "UPDATE datalane.connectors SET sealed_credentials = $3 WHERE workspace_id = $1 AND connector_id = $2"
    async with database.transaction(ranked(context, Role.ADMIN)) as tx:
        first = await tx.fetchval(copy, tx.workspace_id, one.connector_id)
        await tx.execute(put, tx.workspace_id, two.connector_id, first)
    await rotate(database, context, one.connector_id)
    async with database.transaction(ranked(context, Role.ADMIN)) as tx:
        await tx.execute(put, tx.workspace_id, one.connector_id, first)
    for connector in (one, two):
        with pytest.raises(DatalaneError) as broken:
            await use(database, context, connector.connector_id)
        assert broken.value.code == "seal_broken"


async def test_rotation_puts_other_credentials_and_keeps_who_and_when(database: Database, context: Context) -> None:
    made = await connect(database, context, now=START)
    rotated = await rotate(
        database, context, made.connector_id, expires_at=after(3_600), now=after(60), key="k-123", pin="0000"
    )
    assert (rotated.credential_version, rotated.credential_names) == (2, ["key", "pin"])
    assert (rotated.rotated_at, rotated.expires_at) == (after(60), after(3_600))
    assert await use(database, context, made.connector_id) == {"key": "k-123", "pin": "0000"}
    async with database.transaction(context) as tx:
        history = (await list_history(tx, made.connector_id)).data
        told = await list_records(tx, resource_type="connector")
    assert [(line.what, line.credential_version, line.expires_at) for line in history] == [
        ("rotated", 2, after(3_600)),
        ("registered", 1, None),
    ]
    assert history[0].actor_id == rotated.updated_by_actor_id
    assert [(one.action, one.after["version"]) for one in told] == [
        ("connector.rotated", 2),
        ("connector.registered", 1),
    ]


async def test_who_rotates_what_they_have_not_seen_is_told(database: Database, context: Context) -> None:
    made = await connect(database, context)
    await rotate(database, context, made.connector_id)
    with pytest.raises(StaleVersion) as stale:
        await rotate(database, context, made.connector_id, seen=1, token="k-late")
    assert stale.value.told["current"]["credential_version"] == 2
    assert await use(database, context, made.connector_id) == {"token": OTHER_SECRET}


async def test_of_rotations_at_once_one_wins_and_the_others_are_told(database: Database, context: Context) -> None:
    made = await connect(database, context)
    tried = await asyncio.gather(
        *(rotate(database, context, made.connector_id, token=f"k-{each}-long") for each in range(6)),
        return_exceptions=True,
    )
    won = [place for place, one in enumerate(tried) if isinstance(one, Connector)]
    assert len(won) == 1
    assert {type(one) for one in tried} == {Connector, StaleVersion}
    assert await use(database, context, made.connector_id) == {"token": f"k-{won[0]}-long"}


async def test_a_name_is_free_again_when_its_connector_is_revoked(database: Database, context: Context) -> None:
    made = await connect(database, context, "Payments")
    with pytest.raises(Conflict, match="Payments"):
        await connect(database, context, "Payments")
    await revoke(database, context, made.connector_id)
    again = await connect(database, context, "Payments")
    assert again.connector_id != made.connector_id


async def test_a_revoked_connector_has_no_credentials_and_comes_to_nothing_else(
    database: Database, context: Context
) -> None:
    made = await connect(database, context)
    revoked = await revoke(database, context, made.connector_id)
    assert (revoked.connector.status, revoked.connector.credential_names, revoked.paused) == ("revoked", [], [])
    async with database.transaction(context) as tx:
        assert await tx.fetchval("SELECT sealed_credentials FROM datalane.connectors") is None
    with pytest.raises(Conflict):
        await use(database, context, made.connector_id)
    for attempt in (
        rotate(database, context, made.connector_id),
        revoke(database, context, made.connector_id),
        report(database, context, made.connector_id, "ok", after(1), now=after(1)),
    ):
        with pytest.raises(IllegalTransition, match="terminal"):
            await attempt
    assert (await look(database, context, made.connector_id)).status == "revoked"


async def follow(database: Database, context: Context, connector_id: UUID, count: int) -> list[UUID]:
    """Subscriptions that depend on the connector."""
    ids = sorted(uuid7() for _ in range(count))
    async with database.transaction(ranked(context, Role.SYSTEM)) as tx:
        for each in ids:
            await tx.execute(
                "INSERT INTO datalane.subscriptions (workspace_id, subscription_id, event_type, kind, args) "
                "VALUES ($1, $2, 'thing.happened', 'work', $3)",
                *(tx.workspace_id, each, {"connector_id": str(connector_id)}),
            )
    return ids


async def pause_subscriptions(tx: Transaction, connector_id: UUID, now: datetime) -> Sequence[UUID]:
    rows = await tx.fetch(
        "UPDATE datalane.subscriptions SET enabled = false "
        "WHERE workspace_id = $1 AND enabled AND args ->> 'connector_id' = $2 RETURNING subscription_id",
        *(tx.workspace_id, str(connector_id)),
    )
    return sorted(row["subscription_id"] for row in rows)


async def enabled(database: Database, context: Context) -> list[UUID]:
    async with database.transaction(context) as tx:
        rows = await tx.fetch("SELECT subscription_id FROM datalane.subscriptions WHERE enabled ORDER BY 1")
    return [row["subscription_id"] for row in rows]


async def test_what_depends_on_a_connector_stops_with_it_and_both_are_told(
    database: Database, context: Context
) -> None:
    made, other = await connect(database, context, "one"), await connect(database, context, "two")
    dependents = Dependents()
    dependents.add("subscription", pause_subscriptions)
    mine = await follow(database, context, made.connector_id, 3)
    theirs = await follow(database, context, other.connector_id, 1)
    revoked = await revoke(database, context, made.connector_id, dependents)
    assert [(one.kind, one.count, one.ids) for one in revoked.paused] == [("subscription", 3, mine)]
    assert await enabled(database, context) == theirs
    told = [{"kind": "subscription", "count": 3, "ids": [str(one) for one in mine]}]
    assert (await published(database, context))[-1] == ("integration.revoked", {"paused": told})
    async with database.transaction(context) as tx:
        [record] = await list_records(tx, action="connector.revoked")
    assert record.after["paused"] == told


async def test_when_something_cannot_be_stopped_nothing_is(database: Database, context: Context) -> None:
    made = await connect(database, context)
    mine = await follow(database, context, made.connector_id, 2)

    async def refuse(tx: Transaction, connector_id: UUID, now: datetime) -> Sequence[UUID]:
        raise Conflict("a rule is being changed")

    dependents = Dependents()
    dependents.add("subscription", pause_subscriptions)
    dependents.add("rule", refuse)
    with pytest.raises(Conflict, match="a rule"):
        await revoke(database, context, made.connector_id, dependents)
    assert await enabled(database, context) == mine
    assert (await look(database, context, made.connector_id)).status == "connected"
    assert await use(database, context, made.connector_id) == {"token": SECRET}
    assert [name for name, _ in await published(database, context)] == ["integration.connected"]


async def test_of_revoking_and_rotating_at_once_the_end_is_revoked_without_credentials(
    database: Database, context: Context
) -> None:
    for turn in range(5):
        made = await connect(database, context, f"turn {turn}")
        tried = await asyncio.gather(
            revoke(database, context, made.connector_id),
            revoke(database, context, made.connector_id),
            rotate(database, context, made.connector_id),
            return_exceptions=True,
        )
        assert sum(isinstance(one, RevokedConnector) for one in tried) == 1
        assert all(isinstance(one, RevokedConnector | Connector | IllegalTransition) for one in tried), tried
        assert (await look(database, context, made.connector_id)).status == "revoked"
    async with database.transaction(context) as tx:
        assert await tx.fetchval("SELECT count(*) FROM datalane.connectors WHERE sealed_credentials IS NOT NULL") == 0


async def test_reports_move_between_connected_and_degraded_and_a_repeated_one_tells_nothing(
    database: Database, context: Context
) -> None:
    made = await connect(database, context, now=START)
    steps = [("ok", "connected"), ("expired", "degraded"), ("refresh_failed", "degraded"), ("ok", "connected")]
    for minute, (outcome, status) in enumerate(steps, 1):
        for _ in range(2):
            told = await report(
                database, context, made.connector_id, outcome, after(minute), now=after(600), refreshable=False
            )
            assert told.connector.status == status
        assert not told.counted, "the same report a second time is not newer"
    assert await published(database, context) == [
        ("integration.connected", {}),
        ("integration.degraded", {"outcome": "expired", "refreshable": False}),
        ("integration.connected", {"outcome": "ok", "refreshable": False}),
    ]
    async with database.transaction(context) as tx:
        actions = [one.action for one in await list_records(tx, resource_type="connector")]
        history = (await list_history(tx, made.connector_id)).data
    assert actions == ["connector.connected", "connector.degraded", "connector.registered"]
    assert [line.counted for line in history if line.what == "reported"] == [False, True] * 4


async def test_a_report_that_comes_late_changes_nothing_and_is_kept(database: Database, context: Context) -> None:
    made = await connect(database, context, now=START)
    await report(database, context, made.connector_id, "ok", after(100), now=after(100))
    late = await report(database, context, made.connector_id, "revoked_by_provider", after(50), now=after(101))
    assert (late.counted, late.connector.status, late.connector.outcome) == (False, "connected", "ok")
    async with database.transaction(context) as tx:
        newest = (await list_history(tx, made.connector_id)).data[0]
    assert (newest.outcome, newest.counted, newest.status) == ("revoked_by_provider", False, "connected")


async def test_a_sync_that_fails_is_told_once(database: Database, context: Context) -> None:
    made = await connect(database, context, now=START)
    for minute, outcome in enumerate(["unreachable", "unreachable", "ok", "unreachable"], 1):
        await report(database, context, made.connector_id, outcome, after(minute), now=after(600), during="sync")
    assert [name for name, _ in await published(database, context)] == [
        *("integration.connected", "integration.degraded", "integration.sync_failed"),
        *("integration.connected", "integration.degraded", "integration.sync_failed"),
    ]


async def test_the_provider_s_own_word_revokes_and_stops_what_depends_on_it(
    database: Database, context: Context
) -> None:
    made = await connect(database, context, now=START)
    mine = await follow(database, context, made.connector_id, 1)
    dependents = Dependents()
    dependents.add("subscription", pause_subscriptions)
    told = await report(
        database,
        context,
        made.connector_id,
        "revoked_by_provider",
        after(1),
        now=after(1),
        dependents=dependents,
        during="sync",
    )
    assert (told.connector.status, told.connector.credential_names) == ("revoked", [])
    assert [one.ids for one in told.paused] == [mine]
    assert await enabled(database, context) == []
    assert [name for name, _ in await published(database, context)] == ["integration.connected", "integration.revoked"]


async def test_a_report_of_a_moment_to_come_is_refused(database: Database, context: Context) -> None:
    made = await connect(database, context, now=START)
    with pytest.raises(InvalidInput, match="ahead"):
        await report(database, context, made.connector_id, "ok", after(301), now=START)
    assert (await look(database, context, made.connector_id)).observed_at is None


async def test_nobody_below_an_admin_changes_a_connector(database: Database, context: Context) -> None:
    """The service refuses it, and so does the database."""
    made = await connect(database, context)
    target = ConnectorTarget(connector_id=made.connector_id)
    for role in (Role.VIEWER, Role.MEMBER):
        with pytest.raises(Forbidden):
            async with database.transaction(ranked(context, role)) as tx:
                await revoke_connector(tx, target, Dependents())
        async with database.transaction(ranked(context, role)) as tx:
            done = await tx.execute(
                "UPDATE datalane.connectors SET metadata = '{}' WHERE workspace_id = $1", tx.workspace_id
            )
        assert done == "UPDATE 0"
    assert (await look(database, context, made.connector_id)).status == "connected"
    assert timedelta() <= (await look(database, context, made.connector_id)).rotated_at - made.created_at
