"""Whatever is sent, no route breaks, and each answers as the OpenAPI document says it may."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.conftest import MASTER_KEYS
from tests.integration.api.conftest import PASSWORD, OpenLane

from datalane.api.app import create_app
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.domains import domain_routers, open_runtime
from datalane.engine.registration import register
from datalane.kit.clock import utc_now
from datalane.settings import AttemptSettings, Rate, Settings

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
FEW, MANY = 5, 30
"""Requests for each route."""
ENDLESS = {"GET /timeline/live": {"wait": "0"}}
"""What makes an answer end that otherwise goes on."""


@dataclass
class RunningApp:
    """The application on a loop of its own, so that generated tests can wait for its answers."""

    app: FastAPI
    client: httpx.AsyncClient
    loop: asyncio.AbstractEventLoop

    def run(self, work: Coroutine[Any, Any, httpx.Response]) -> httpx.Response:
        future: Future[httpx.Response] = asyncio.run_coroutine_threadsafe(work, self.loop)
        return future.result(60)

    def send(self, request: requests.PreparedRequest) -> httpx.Response:
        headers = {name: value if isinstance(value, str) else value.decode() for name, value in request.headers.items()}
        body = request.body if isinstance(request.body, str | bytes) else b""
        return self.run(self.client.request(str(request.method), str(request.url), content=body, headers=headers))

    def sign_up(self, name: str) -> dict[str, str]:
        """The headers of a new account, which owns a workspace."""
        account = {"email": f"{name}@example.com", "password": PASSWORD, "name": name}
        answer = self.run(self.client.post("/auth/sign-up", json=account))
        assert answer.status_code == 201, answer.text
        return {"Authorization": f"Bearer {answer.json()['token']}"}


@pytest.fixture
def running(urls: Prepared, tmp_path: Path) -> Iterator[RunningApp]:
    often = Rate(1_000_000, timedelta(seconds=1))
    attempts = AttemptSettings(sign_in=often, sign_in_address=often, client=often, sign_up=often, refresh=often)
    chosen, loop = Settings(home=tmp_path, attempts=attempts), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def open_app(stack: AsyncExitStack) -> RunningApp:
        database = await Database.connect(urls.database_url, master_keys=lambda: MASTER_KEYS)
        stack.push_async_callback(database.close)
        await register(database, {}, [], list(EVENTS))
        runtime = await stack.enter_async_context(open_runtime(chosen))
        app = create_app(OpenLane(database, chosen), domain_routers(runtime))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        client = httpx.AsyncClient(transport=transport, base_url="http://lane")
        return RunningApp(app, await stack.enter_async_context(client), loop)

    stack = AsyncExitStack()
    try:
        yield asyncio.run_coroutine_threadsafe(open_app(stack), loop).result(60)
    finally:
        asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def ids_of(running: RunningApp, headers: dict[str, str]) -> dict[str, str]:
    """Ids of things that are there, by the name under which routes take them."""

    def post(path: str, **said: Any) -> Any:
        answer = running.run(running.client.post(path, json=said, headers=headers))
        assert answer.is_success, answer.text
        return answer.json()

    made = post("/retrieval/index-chunks", text="Herons stand in the reeds.")
    found = post("/retrieval/query", query="herons")
    project_id = post("/projects/create", title="Herons")["project_id"]
    hook = post("/webhooks/endpoints/create", url="https://example.com/hook", event_types=["item.created"])
    endpoint_id = hook["endpoint"]["endpoint_id"]
    message = {"event_type": "item.created", "payload": {"item_id": "1", "version": 1}}
    tool = {"tool_name": "herons.count", "description": "Counts.", "input_schema": {"type": "object"}}
    rule = {"effect": "deny", "tool_pattern": "herons.*", "reason": "They breed."}
    connected = post("/integrations/connectors/register", name="Reeds", kind="owls", credentials={"token": "x"})
    stored = running.run(running.client.get("/automation/events/list", headers=headers))
    versions: dict[str, dict[str, Any]] = {
        "prompts": {"name": "count", "template": "How many?"},
        "models": {"provider": "owls", "model": "owl-1"},
        "output-schemas": {"name": "count", "json_schema": {"type": "integer"}},
    }
    cases = {"name": "herons", "cases": [{"case_id": "one", "input": "How many?"}]}
    dataset_version_id = post("/agents/datasets/add", **cases)["dataset_version_id"]
    measured: dict[str, Any] = {
        "dataset_version_id": dataset_version_id,
        "agent": "counter",
        "graders": [{"name": "right", "scores": ["right"]}],
        "results": [{"case_id": "one", "outcome": "graded", "scores": {"right": 1}}],
    }
    post("/analytics/tracking-plan/register", event_name="heron.seen", json_schema={}, owner="owls")
    told = {"event_name": "heron.seen", "source_event_id": "first", "occurred_at": utc_now().isoformat()}
    post("/billing/analytics-events", **told, plan_id="a plan that is not there")
    anomalies = running.run(running.client.get("/billing/integrity-anomalies", headers=headers))
    return {
        "anomaly_id": anomalies.json()["data"][0]["anomaly_id"],
        "dataset_version_id": dataset_version_id,
        "evaluation_id": post("/agents/evaluations/record", **measured)["evaluation_id"],
        **{
            name: told
            for noun, said in versions.items()
            for name, told in version_in(post(f"/agents/{noun}/register", **said))
        },
        "thread_id": post("/agents/threads/open", external_id="Herons")["thread_id"],
        "run_id": post("/agents/runs/begin", agent="counter", runtime="here")["run_id"],
        "tool_name": post("/agents/tools/publish", side_effect="none", **tool)["tool"]["tool_name"],
        "rule_id": post("/agents/tool-rules/create", **rule)["rule_id"],
        "connector_id": connected["connector_id"],
        "event_id": stored.json()["data"][0]["event_id"],
        "endpoint_id": endpoint_id,
        "delivery_id": post("/webhooks/outbound/enqueue", endpoint_id=endpoint_id, **message)["delivery_id"],
        "document_id": made["document_id"],
        "chunk_id": found["data"][0]["chunk_id"],
        "traced_id": post("/retrieval/citations", segments=[{"text": "In the reeds."}])["response_id"],
        "item_id": post("/items/create", title="Look for herons", project_id=project_id)["item_id"],
        "project_id": project_id,
    }


def version_in(registered: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, told) for name, told in registered.items() if name.endswith("_version_id")]


def visit(running: RunningApp, operation: Any, headers: dict[str, str], ids: dict[str, str], examples: int) -> set[int]:
    """Send generated requests to one route: valid and invalid ones, half of them about things that are there.

    Answers the statuses.
    """
    statuses = set[int]()
    modes = [GenerationMode.POSITIVE]
    if operation.body or operation.path_parameters or operation.query:
        modes.append(GenerationMode.NEGATIVE)

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=st.one_of(*map(operation.as_strategy, modes)), known=st.booleans())
    def conforms(case: Any, known: bool) -> None:
        if known and case.path_parameters:
            case.path_parameters = {name: ids.get(name, value) for name, value in case.path_parameters.items()}
        ended = ENDLESS.get(operation.label, {})
        if all(str(case.query.get(name, value)).isdigit() for name, value in ended.items()):
            case.query = {**case.query, **ended}
        case.headers = {**headers, "X-Correlation-Id": "conformance"}
        answer = running.send(requests.Request(**case.as_transport_kwargs(base_url="http://lane")).prepare())
        statuses.add(answer.status_code)
        case.validate_response(answer, checks=CHECKS)

    conforms()
    return statuses


def examine(running: RunningApp, examples: int) -> dict[str, set[int]]:
    """The statuses of every route. Raises what does not conform."""
    schema = schemathesis.openapi.from_dict(running.app.openapi())
    keeper = running.sign_up("keeper")
    ids, answered = ids_of(running, keeper), dict[str, set[int]]()
    for number, found in enumerate(schema.get_all_operations()):
        assert isinstance(found, Ok)
        operation = found.ok()
        ends_sessions = operation.path.startswith("/auth")
        headers = running.sign_up(f"person{number}") if ends_sessions else keeper
        answered[operation.label] = visit(running, operation, headers, ids, examples)
    return answered


def test_no_route_breaks_or_answers_what_is_not_documented(running: RunningApp) -> None:
    answered = examine(running, FEW)
    assert set(answered) >= {"POST /documents/upload", "DELETE /documents/{document_id}", "POST /retrieval/query"}
    assert all(answered.values())
    succeeded = {route for route, statuses in answered.items() if any(status < 300 for status in statuses)}
    assert len(succeeded) >= len(answered) / 2, f"only these were let in: {sorted(succeeded)}"


@pytest.mark.soak
def test_no_route_breaks_in_many_tries(running: RunningApp) -> None:
    assert all(examine(running, MANY).values())
