"""`datalane events`: an operator finds events across workspaces, and looks into one inside its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration.engine.lab import Lab

from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.engine.events import NewEvent, Rejected, publish_batch, record_rejections
from datalane.kit.ids import uuid7

Said = Any
Events = Callable[..., Awaitable[Said]]


@pytest.fixture
def events(urls: Prepared, home: Path, datalane: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> Events:
    """`await events("list", …)` on this test's lane, beside the test's own event loop."""
    monkeypatch.setenv("DATALANE_HOME", str(home))
    for name, value in urls.as_environment().items():
        monkeypatch.setenv(name, value)

    async def run(*arguments: object) -> Said:
        return await asyncio.to_thread(datalane, "events", *map(str, arguments))

    return run


async def publish(database: Database, context: Context, *events: NewEvent) -> list[str]:
    async with database.transaction(context) as tx:
        return [str(one.event_id) for one in await publish_batch(tx, events)]


@pytest.fixture
async def registered(database: Database) -> None:
    async with Lab.opened(database) as lab:
        await lab.register()


@pytest.mark.usefixtures("registered")
async def test_events_of_all_workspaces_are_listed_and_one_is_shown_with_its_payload(
    events: Events, database: Database, context: Context, other_context: Context
) -> None:
    mine, subject = await publish(
        database,
        context,
        NewEvent("item.created", {"item_id": "1", "version": 1}),
        NewEvent("item.created", {"item_id": "2", "version": 1}, subject_id="2"),
    )
    [theirs] = await publish(database, other_context, NewEvent("item.created", {"item_id": "3", "version": 1}))
    every = await events("list", "--type", "item.created", "--json")
    assert [row["event_id"] for row in every.json["events"]] == [theirs, subject, mine]
    assert {"payload", "subject_id"} & every.json["events"][0].keys() == set()
    home = ("--workspace", context.workspace_id)
    own = await events("list", *home, "--subject", "2", "--json")
    assert [row["event_id"] for row in own.json["events"]] == [subject]
    shown = await events("show", theirs, "--json")
    assert (shown.json["event"]["payload"], shown.json["event"]["workspace_id"]) == (
        {"item_id": "3", "version": 1},
        str(other_context.workspace_id),
    )
    text = await events("show", mine, *home)
    assert '"item_id": "1"' in text.out
    assert theirs in (await events("list")).out


@pytest.mark.usefixtures("registered")
async def test_the_log_of_attempts_is_listed_by_what_they_came_to(
    events: Events, database: Database, context: Context
) -> None:
    async with database.transaction(context) as tx:
        await record_rejections(tx, [Rejected("item.created", "shop", "7", "against its schema")])
    inside = await events("ingestion", "--workspace", context.workspace_id, "--status", "rejected_schema", "--json")
    [line] = inside.json["attempts"]
    assert (line["source_event_id"], line["detail"]) == ("7", "against its schema")
    across = await events("ingestion", "--source", "shop", "--json")
    [line] = across.json["attempts"]
    assert (line["workspace_id"], line["ingestion_status"]) == (str(context.workspace_id), "rejected_schema")
    assert "detail" not in line


async def test_what_cannot_be_looked_up_is_said(events: Events, context: Context) -> None:
    for arguments, says in (
        (("show", uuid7()), "there is no event"),
        (("show", "seven"), "is not the id of an event"),
        (("list", "--subject", "7"), "--workspace"),
        (("list", "--since", "yesterday"), "--since"),
        (("ingestion", "--status", "lost"), "accepted, duplicate"),
    ):
        refused = await events(*arguments)
        assert refused.status != 0, arguments
        assert says in refused.err, arguments
    assert (await events("list", "--workspace", context.workspace_id)).out.strip() == "no events"
