"""The command line of webhooks, as an operator uses it after an outage."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.integration.integrations.hooks import Hooks, register_types
from tests.integration.integrations.sink import Sink, listening

from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.kit.ids import uuid7


@pytest.fixture
async def hooks(database: Database, context: Context) -> Hooks:
    await register_types(database)
    return Hooks.of(database, context)


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with listening() as opened:
        yield opened


class Command:
    """`datalane webhooks`, in a process of its own."""

    def __init__(self, urls: Prepared, hooks: Hooks) -> None:
        self._environment = {**os.environ, "DATALANE_DATABASE_URL": urls.database_url}
        self._workspace = str(hooks.admin.workspace_id)

    async def run(self, *arguments: str, status: int = 0) -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "datalane.cli.main", "webhooks", *arguments, "--workspace", self._workspace),
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        assert process.returncode == status, out.decode()
        return out.decode()

    async def told(self, *arguments: str, status: int = 0) -> Any:
        return json.loads(await self.run(*arguments, "--json", status=status))


async def test_an_operator_brings_an_endpoint_back(urls: Prepared, hooks: Hooks, sink: Sink) -> None:
    command = Command(urls, hooks)
    endpoint_id = str((await hooks.create(sink.url)).endpoint.endpoint_id)
    assert (await command.told("disable", endpoint_id))["status_reason"] == "admin"
    await hooks.pay(1, 2)
    async with hooks.working():
        await hooks.until(2, "pending", held=True)
        assert f"{endpoint_id} is enabled" in await command.run("enable", endpoint_id)
        assert (await command.told("recover", endpoint_id, "--dry-run"))["remaining"] == 2
        assert "2 on their way" in await command.run("recover", endpoint_id)
        await hooks.until(2)
        [listed] = (await command.told("endpoints"))["endpoints"]
        assert listed["endpoint_id"] == endpoint_id
        assert sink.url in await command.run("endpoints")
        assert "delivered" in await command.run("deliveries", "--endpoint", endpoint_id)
        found = (await command.told("deliveries", "--status", "delivered"))["deliveries"]
        assert len(found) == 2
        assert (await command.told("replay", "--status", "delivered", "--dry-run"))["matched"] == 2
        assert (await command.told("replay", "--delivery", found[0]["delivery_id"]))["replayed"] == 1
        await hooks.until(3)
    assert len({taken.message_id for taken in sink.taken}) == 2


async def test_what_makes_no_sense_is_said(urls: Prepared, hooks: Hooks) -> None:
    command = Command(urls, hooks)
    for arguments, code in (
        (("deliveries", "--status", "lost"), "invalid_input"),
        (("replay", "--status", "pending"), "invalid_input"),
        (("replay", "--delivery", str(uuid7()), "--type", "invoice.paid"), "invalid_input"),
        (("replay", "--type", "No Type"), "invalid_input"),
        (("enable", "nothing"), "invalid_input"),
        (("enable", str(uuid7())), "not_found"),
    ):
        assert (await command.told(*arguments, status=2))["error"]["code"] == code
    assert "no endpoints" in await command.run("endpoints")
