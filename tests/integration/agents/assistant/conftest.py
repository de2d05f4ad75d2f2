"""The whole application with its assistant, and a model that answers by a script in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.apps import shared_application
from tests.integration.api.conftest import OpenLane, Person, ada, bob, client, join, sign_up

from datalane.agents.assistant.chat import Chat
from datalane.agents.assistant.service import Assistant
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.domains import Runtime, open_runtime
from datalane.engine.registration import register
from datalane.settings import AssistantSettings, Settings

__all__ = ["ada", "bob", "client", "join", "sign_up"]

KEY = "sk-of-the-operator-1234567890"
SERVER = Path(__file__).with_name("chat_server.py")


@pytest.fixture
async def lane(database: Database, tmp_path: Path) -> OpenLane:
    await register(database, {}, [], list(EVENTS))
    return OpenLane(database, Settings(home=tmp_path))


@pytest.fixture
async def runtime(lane: OpenLane) -> AsyncIterator[Runtime]:
    async with open_runtime(lane.settings) as opened:
        yield opened


@pytest.fixture
def app(lane: OpenLane, runtime: Runtime) -> FastAPI:
    return shared_application(lane, runtime)


@dataclass(frozen=True)
class ScriptedModel:
    url: str

    def script(self, *answers: dict[str, Any]) -> None:
        """What it answers next: `text`, `calls` with names and arguments, `usage`, or bytes that are `raw`."""
        self._call("/script", list(answers))

    def seen(self) -> list[dict[str, Any]]:
        """The requests since the script was given."""
        found: list[dict[str, Any]] = self._call("/", None)
        return found

    def assistant(self, runtime: Runtime, **said: Any) -> Assistant:
        usual: dict[str, Any] = {"base_url": f"{self.url}/v1", "model": "owl-1", "api_key": KEY}
        chat = Chat(AssistantSettings(**{"timeout": timedelta(seconds=20), **usual, **said}))
        return Assistant(runtime.agents.tools, runtime.agents.meters, chat)

    def _call(self, path: str, said: Any) -> Any:
        data = None if said is None else json.dumps(said).encode()
        with urllib.request.urlopen(f"{self.url}{path}", data, timeout=10) as answer:
            return json.load(answer)


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    process = subprocess.Popen([sys.executable, str(SERVER)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield ScriptedModel(f"http://127.0.0.1:{int(process.stdout.readline())}")
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Desk:
    """Somebody's requests."""

    client: httpx.AsyncClient
    headers: dict[str, str]

    async def post(self, path: str, status: int = 200, **said: Any) -> Any:
        answer = await self.client.post(path, json=said, headers=self.headers)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def get(self, path: str, **said: Any) -> Any:
        answer = await self.client.get(path, params=said, headers=self.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def index(self, *texts: str) -> None:
        for text in texts:
            await self.post("/retrieval/index-chunks", 201, text=text, source_title=text.split()[0])

    async def ask(self, question: str, status: int = 200, **said: Any) -> Any:
        return await self.post("/agents/assistant/ask", status, question=question, **said)

    async def run(self, run_id: str) -> Any:
        return await self.get(f"/agents/runs/{run_id}")

    async def last_run(self) -> Any:
        listed = await self.get("/agents/runs/list")
        return await self.run(listed["data"][0]["run_id"])

    async def items(self) -> list[str]:
        listed = await self.post("/items/query")
        return [item["title"] for item in listed["data"]]


@pytest.fixture
async def desk(client: httpx.AsyncClient, ada: Person) -> Desk:
    """Ada's, with the built-in tools published and two documents."""
    made = Desk(client, ada.headers)
    await made.post("/agents/tools/publish-built-in")
    await made.index(
        "Herons stand in the reeds. They eat fish and frogs. Nobody has counted them.",
        "The lighthouse shines every five seconds. It was built in 1850.",
    )
    return made
