"""The rules of docs/how-to/write-a-rule.md, as they stand there, against the events beside them."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.integration.api.conftest import OpenLane, Person
from tests.integration.engine.lab import eventually
from tests.integration.engine.workers import quick, working
from tests.integration.integrations.automation.conftest import Notes, Shop

from datalane.api.app import create_app
from datalane.contracts.context import Context, Role
from datalane.contracts.registry import EVENTS
from datalane.domains import Runtime, make_runtime, register_handlers
from datalane.engine.handlers import Handlers
from datalane.engine.registration import register
from datalane.integrations import routes
from datalane.integrations.runtime import Integrations
from datalane.settings import Settings

PAGE = Path(__file__).parents[4] / "docs/how-to/write-a-rule.md"
BLOCKS: list[dict[str, Any]] = [
    json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
]
WRITTEN = [block for block in BLOCKS if "name" in block]
EXAMPLE_EVENTS = [block for block in BLOCKS if "payload" in block]
[TRIED] = [block for block in BLOCKS if "event_id" in block]


@pytest.fixture
async def runtime(lane: OpenLane, tmp_path: Path) -> AsyncIterator[Runtime]:
    """All domains, with their actions."""
    EVENTS.register("receipt.printed", {"type": "object"})
    await register(lane.database, {}, [], list(EVENTS))
    made = make_runtime(Settings(home=tmp_path))
    yield made
    await made.aclose()


@pytest.fixture
def integrations(runtime: Runtime) -> Integrations:
    return runtime.integrations


@pytest.fixture
def app(lane: OpenLane, integrations: Integrations) -> FastAPI:
    return create_app(lane, [partial(routes.router, integrations=integrations)])


async def test_the_rules_of_the_page_do_what_it_says(
    client: httpx.AsyncClient, ada: Person, lane: OpenLane, integrations: Integrations
) -> None:
    shop = Shop(lane.database, integrations, Context(ada.workspace_id, ada.user_id, Role.OWNER), Notes())
    for rule in WRITTEN:
        answer = await client.post("/automation/rules/create", json=rule, headers=ada.headers)
        assert answer.status_code == 201, answer.text
    for event in EXAMPLE_EVENTS:
        answer = await client.post("/automation/events/publish", json=event, headers=ada.headers)
        assert answer.status_code == 201, answer.text
    names = {row[0]: row[1] for row in await shop.rows("SELECT rule_id, name FROM datalane.automation_rules")}
    async with shop.working():
        found = await shop.ended(7)
    assert sorted((names[run.rule_id], run.status, run.reason) for run in found) == [
        ("Begin at once", "completed", None),
        ("Begin at once", "completed", None),
        ("Keep every receipt", "completed", None),
        ("Look at what the till cannot name", "completed", None),
        ("Look at what the till cannot name", "skipped", "condition"),
        ("Thank whoever pays much", "completed", None),
        ("Thank whoever pays much", "skipped", "condition"),
    ]
    made = await shop.rows("SELECT title, status, tags, metadata FROM datalane.items ORDER BY title")
    assert [row[:3] for row in made] == [
        ("Thank Ada", "active", ["thanks"]),
        ("Who paid invoice 8?", "active", []),
    ]
    assert made[0][3]["invoice"] == 7
    [(args,)] = await shop.rows("SELECT args FROM datalane.jobs WHERE kind = 'document.bring'")
    assert (args["text"], args["source_uri"], args["title"]) == ("One coffee, 3.50", "till:8", "Receipt 8")


async def test_the_dry_run_of_the_page_can_be_asked(
    client: httpx.AsyncClient, ada: Person, lane: OpenLane, integrations: Integrations
) -> None:
    answer = await client.post("/automation/events/publish", json=EXAMPLE_EVENTS[0], headers=ada.headers)
    asked = {**TRIED, "event_id": answer.json()["event_id"]}
    answer = await client.post("/automation/rules/dry-run", json=asked, headers=ada.headers)
    assert answer.json()["actions"] == [{"action": "item.create", "arguments": {"title": "Ada"}, "error": None}]


async def test_the_whole_lane_follows_a_rule_to_the_end_and_a_second_one_from_there(
    client: httpx.AsyncClient, ada: Person, lane: OpenLane, runtime: Runtime
) -> None:
    """With all handlers of all domains: the text of an event becomes a document, and that an item."""
    context = Context(ada.workspace_id, ada.user_id, Role.OWNER)
    shop = Shop(lane.database, runtime.integrations, context, Notes())
    [receipt] = [rule for rule in WRITTEN if rule["event_type"] == "receipt.printed"]
    read: dict[str, Any] = {
        "name": "Read it",
        "event_type": "document.ingested",
        "actions": [{"action": "item.create", "arguments": {"title": {"cel": "event.payload.document_id"}}}],
    }
    for rule in (receipt, read):
        assert (await client.post("/automation/rules/create", json=rule, headers=ada.headers)).status_code == 201
    [event] = [event for event in EXAMPLE_EVENTS if event["event_type"] == "receipt.printed"]
    answer = await client.post("/automation/events/publish", json=event, headers=ada.headers)
    handlers = Handlers()
    register_handlers(handlers, lane.database, runtime)
    async with working(lane.database, handlers):
        second, first = await shop.ended(2)
    assert (first.status, second.status) == ("completed", "completed")
    assert str(first.event_id) == answer.json()["event_id"]
    assert second.correlation_id == first.correlation_id, "one chain of causes"
    assert second.causation_depth > first.causation_depth
    [(document_id, title)] = await shop.rows("SELECT document_id::text, title FROM datalane.documents")
    assert (await shop.rows("SELECT title FROM datalane.items"), title) == ([(document_id,)], "Receipt 8")


async def test_a_rule_that_brings_in_a_document_for_each_document_stops_at_the_depth_of_causes(
    ada: Person, lane: OpenLane, runtime: Runtime
) -> None:
    """Over the jobs in between: each link of the chain is an event, the job that brings, the job that ingests."""
    shop = Shop(lane.database, runtime.integrations, Context(ada.workspace_id, ada.user_id, Role.OWNER), Notes())
    text = {"cel": "'Of ' + event.payload.document_id"}
    await shop.rule(("document.ingest", {"text": "Herons."}), name="The first")
    await shop.rule(("document.ingest", {"text": text}), name="Again", event_type="document.ingested")
    handlers = Handlers()
    register_handlers(handlers, lane.database, runtime)
    event_id = await shop.pay()
    async with working(lane.database, handlers, quick()):
        stopped = "SELECT last_error_message FROM datalane.jobs WHERE kind = 'document.bring' AND status = 'failed'"
        message = await eventually(lambda: shop.rows(stopped), patience=60)
    assert "limits.causation_depth" in str(message)
    caused = await shop.rows(
        "SELECT causation_depth, causation_id IS NOT NULL FROM datalane.events "
        "WHERE event_type = 'document.ingested' ORDER BY event_id"
    )
    assert caused == [(depth, True) for depth in (3, 6, 9, 12, 15)]
    [(first,)] = await shop.rows("SELECT causation_id FROM datalane.events WHERE causation_depth = 3")
    assert first == event_id
