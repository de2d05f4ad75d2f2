"""The command line of demo access, as an operator uses it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import pytest
from tests.integration.access.lifecycle.telling import DAY

from datalane.contracts.context import Context
from datalane.db.provision import Prepared
from datalane.kit.clock import utc_now

pytestmark = [pytest.mark.one_database, pytest.mark.usefixtures("plans")]


class Command:
    """`datalane access`, in a process of its own."""

    def __init__(self, urls: Prepared, context: Context) -> None:
        self._environment = {**os.environ, "DATALANE_DATABASE_URL": urls.database_url}
        self._workspace = str(context.workspace_id)

    async def run(self, *arguments: str, status: int = 0) -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "datalane.cli.main", "access", *arguments, "--workspace", self._workspace),
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        assert process.returncode == status, out.decode()
        return out.decode()

    async def told(self, *arguments: str, status: int = 0) -> Any:
        return json.loads(await self.run(*arguments, "--json", status=status))


async def test_an_operator_tells_corrects_and_looks(urls: Prepared, context: Context) -> None:
    command, until = Command(urls, context), (utc_now() + DAY).isoformat()
    assert (await command.told("status"))["status"] == "pending"
    lost = (
        "signal",
        "activate",
        "--source",
        "billing",
        "--event-id",
        "evt_7",
        "--at",
        "2026-11-01T00:00:00Z",
        "--by",
        "Ada",
    )
    assert "accepted, applied" in await command.run(*lost, "--plan", "pro", "--until", until)
    assert (await command.told(*lost, "--plan", "pro", "--until", until))["receipt"] == "duplicate"
    assert (await command.told(*lost, "--plan", "trial", status=1))["receipt"] == "conflict"
    corrected = ("correct", "suspended", "--by", "Ada", "--reason", "They have not paid.")
    assert (await command.told(*corrected))["outcome"] == "applied"
    shown = await command.told("status")
    assert (shown["status"], shown["plan_id"], shown["source_system"]) == ("suspended", "pro", "operator")
    assert "suspended" in await command.run("status")
    history = await command.told("history")
    assert [each["to_state"] for each in history["changes"]] == ["suspended", "active"]
    assert history["signals"][0]["note"] == "They have not paid."
    assert "evt_7" in await command.run("history")
    assert "nothing differs" in await command.run("reconcile")
    assert (await command.told("reconcile", "--repair"))["differences"] == []


async def test_what_is_not_applied_and_what_is_held_is_mended_by_command(urls: Prepared, context: Context) -> None:
    command = Command(urls, context)
    await command.run("signal", "activate", "--plan", "gold", "--by", "Ada")
    assert (await command.told("status"))["status"] == "pending_sync"
    assert "gold" in await command.run("resync", status=1)
    assert "access.sync_error" in await command.run("reconcile", status=1)
    held = (
        "signal",
        "suspend",
        "--source",
        "billing",
        "--event-id",
        "old",
        "--at",
        "2001-01-01T00:00:00Z",
        "--by",
        "Ada",
    )
    assert (await command.told(*held))["receipt"] == "held"
    assert "1 released" in await command.run("release", "--event-id", "old", "--by", "Ada", "--reason", "It is right.")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("signal", "explode", "--by", "Ada"), "signal"),
        (("signal", "activate", "--by", "Ada"), "plan_id"),
        (("signal", "correct", "--by", "Ada"), "signal"),
        (("signal", "renew", "--by", "Ada", "--until", "tomorrow"), "ends_at"),
        (("correct", "pending_sync", "--by", "Ada", "--reason", "x"), "state"),
        (("correct", "grace", "--by", "Ada", "--reason", "x"), "grace_seconds"),
        (("correct", "active", "--by", "Ada", "--reason", ""), "note"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
async def test_a_command_that_makes_no_sense_names_what_is_wrong(
    urls: Prepared, context: Context, arguments: tuple[str, ...], says: str
) -> None:
    assert says in await Command(urls, context).run(*arguments, status=2)
