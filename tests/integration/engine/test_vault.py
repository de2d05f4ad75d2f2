"""Secrets of workspaces: sealed in the database, opened in their place, wrapped anew under another master key."""

from __future__ import annotations

import asyncio

import pytest
from tests.integration.engine.lab import ranked

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.engine.audit import list_records
from datalane.engine.vault import open_sealed, rewrap, seal
from datalane.errors import Forbidden
from datalane.kit.envelope import MasterKeyMissing, MasterKeys, SealBroken

OLD, NEW = "the first master key of the lane", "the second master key of the lane"


async def keep(database: Database, context: Context, secret: bytes, about: str = "here") -> bytes:
    async with database.transaction(ranked(context, Role.ADMIN)) as tx:
        return await seal(tx, secret, about)


async def look(database: Database, context: Context, sealed: bytes, about: str = "here") -> bytes:
    async with database.transaction(context) as tx:
        return await open_sealed(tx, sealed, about)


async def test_a_secret_is_sealed_by_an_admin_and_opened_by_whoever_works_in_the_workspace(
    database: Database, context: Context
) -> None:
    sealed = await keep(database, context, b"secret")
    assert b"secret" not in sealed
    assert await look(database, context, sealed) == b"secret"
    async with database.transaction(context) as tx:
        told = [(one.action, one.resource_id, one.after) for one in await list_records(tx)]
        stored = await tx.fetchrow("SELECT wrapped, master_key_id FROM datalane.data_keys")
    assert stored is not None
    assert told == [("data_key.made", str(context.workspace_id), {"master_key_id": stored["master_key_id"]})]


async def test_a_secret_opens_neither_in_another_place_nor_in_another_workspace(
    database: Database, context: Context, other_context: Context
) -> None:
    sealed = await keep(database, context, b"secret")
    await keep(database, other_context, b"another")
    with pytest.raises(SealBroken):
        await look(database, context, sealed, "there")
    with pytest.raises(SealBroken):
        await look(database, other_context, sealed)


async def test_a_data_key_of_another_workspace_opens_nothing(
    database: Database, context: Context, other_context: Context
) -> None:
    await keep(database, context, b"secret")
    sealed = await keep(database, other_context, b"another")
    async with database.transaction(context) as tx:
        stolen = await tx.fetchval("SELECT wrapped FROM datalane.data_keys")
    async with database.transaction(ranked(other_context, Role.ADMIN)) as tx:
        await tx.execute("UPDATE datalane.data_keys SET wrapped = $1 WHERE workspace_id = $2", stolen, tx.workspace_id)
    with pytest.raises(SealBroken):
        await look(database, other_context, sealed)


async def test_the_first_secret_takes_an_admin(database: Database, context: Context) -> None:
    with pytest.raises(Forbidden):
        async with database.transaction(context) as tx:
            await seal(tx, b"secret", "here")


async def test_first_secrets_at_once_share_one_data_key(database: Database, context: Context) -> None:
    sealed = await asyncio.gather(*(keep(database, context, b"%d" % each) for each in range(8)))
    assert [await look(database, context, one) for one in sealed] == [b"%d" % each for each in range(8)]
    async with database.transaction(context) as tx:
        assert [one.action for one in await list_records(tx)] == ["data_key.made"]


async def test_another_master_key_wraps_the_data_key_anew_and_touches_no_secret(
    urls: Prepared, context: Context
) -> None:
    before = await Database.connect(urls.database_url, master_keys=lambda: MasterKeys(OLD))
    both = await Database.connect(urls.database_url, master_keys=lambda: MasterKeys(NEW, [OLD]))
    after = await Database.connect(urls.database_url, master_keys=lambda: MasterKeys(NEW))
    try:
        sealed = await keep(before, context, b"secret")
        assert await look(both, context, sealed) == b"secret"
        with pytest.raises(MasterKeyMissing, match="DATALANE_MASTER_KEYS_BEFORE"):
            await look(after, context, sealed)
        for done in (True, False):
            async with both.transaction(ranked(context, Role.SYSTEM)) as tx:
                assert await rewrap(tx) is done
        assert await look(after, context, sealed) == b"secret"
        with pytest.raises(MasterKeyMissing):
            await look(before, context, sealed)
        async with after.transaction(context) as tx:
            assert [one.action for one in await list_records(tx)] == ["data_key.rewrapped", "data_key.made"]
    finally:
        for each in (before, both, after):
            await each.close()


async def test_a_lane_without_a_master_key_keeps_no_secret(urls: Prepared, context: Context) -> None:
    bare = await Database.connect(urls.database_url)
    try:
        with pytest.raises(MasterKeyMissing, match="set DATALANE_MASTER_KEY"):
            await keep(bare, context, b"secret")
    finally:
        await bare.close()
