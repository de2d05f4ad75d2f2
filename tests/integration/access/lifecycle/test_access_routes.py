"""Demo access over HTTP: everybody sees it, nobody changes it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.apps import shared_app
from tests.integration.access.lifecycle.telling import DAY, a_signal, tell
from tests.integration.api.conftest import Join, OpenLane, Person, ada, bob, client, join, sign_up

from datalane.access import routes
from datalane.contracts.context import Context
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.engine.registration import register
from datalane.kit.clock import utc_now
from datalane.settings import Settings

pytestmark = [pytest.mark.one_database, pytest.mark.usefixtures("plans")]

__all__ = ["ada", "bob", "client", "join", "sign_up"]

STATUS, HISTORY = "/access/demo/status", "/access/demo/history/list"


@pytest.fixture
async def lane(database: Database) -> OpenLane:
    await register(database, {}, [], list(EVENTS))
    return OpenLane(database, Settings())


@pytest.fixture
def app(lane: OpenLane) -> FastAPI:
    return shared_app(lane, routes.router)


async def get(client: httpx.AsyncClient, path: str, headers: dict[str, str], **query: Any) -> Any:
    answer = await client.get(path, params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_viewer_sees_where_the_access_is_and_until_when(
    client: httpx.AsyncClient, database: Database, ada: Person, bob: Person, join: Join
) -> None:
    assert (await get(client, STATUS, ada.headers))["status"] == "pending"
    now = utc_now().replace(microsecond=0)
    told = a_signal("activate", now, "evt_1", ends_at=now + DAY, grace_seconds=3600)
    await tell(database, Context.system(ada.workspace_id), told, now=now)
    shown = await get(client, STATUS, await join(ada, bob, "viewer"))
    assert (shown["status"], shown["plan_id"], shown["source_event_id"]) == ("active", "pro", "evt_1")
    assert shown["until"] == f"{now + DAY:%Y-%m-%dT%H:%M:%SZ}"
    assert shown["last_synced_at"] is not None
    assert (await get(client, STATUS, bob.headers))["status"] == "pending"


async def test_the_history_is_for_admins_and_walked_in_pages(
    client: httpx.AsyncClient, database: Database, ada: Person, bob: Person, join: Join
) -> None:
    now = utc_now()
    names = ["activate", "suspend", "resume", "deactivate", "reactivate"]
    told = [a_signal(name, now - (9 - place) * timedelta(hours=1)) for place, name in enumerate(names)]
    await tell(database, Context.system(ada.workspace_id), *told, now=now)
    seen, cursor = [], None
    while True:
        page = await get(client, HISTORY, ada.headers, page_size=2, **({"cursor": cursor} if cursor else {}))
        seen += [each["why"] for each in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == names[::-1]
    assert (await client.get(HISTORY, headers=await join(ada, bob, "member"))).status_code == 403
    assert (await get(client, HISTORY, bob.headers))["data"] == []
