"""The timeline as server-sent events, over a real socket: resumed, checked, bounded, and ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import REGISTRY
from starlette.requests import ClientDisconnect
from starlette.types import Message
from tests.integration.api.conftest import Join, Log, OpenLane, Person, SignUp, bob, join, log
from tests.integration.work.streaming import PATIENCE, open_streams, parse, serving, streaming, until_open

import datalane.api.streams as streams_module
from datalane.api.app import create_app
from datalane.api.streams import EventStream, Streams
from datalane.kit.ids import uuid7
from datalane.settings import ApiSettings, Settings
from datalane.work import routes as work_routes
from datalane.work.timeline.live import Pace

pytestmark = pytest.mark.one_database

__all__ = ["bob", "join", "log"]

BEGINNING = {"after": "beginning"}


async def make(client: httpx.AsyncClient, who: Person, title: str = "One") -> str:
    made = await client.post("/items/create", json={"title": title}, headers=who.headers)
    assert made.status_code == 201, made.text
    item_id: str = made.json()["item_id"]
    return item_id


@pytest.fixture
def app(lane: OpenLane) -> FastAPI:
    """One of the test's own: its streams end with its server."""
    return create_app(lane, [work_routes.router])


@pytest.fixture
async def served(app: FastAPI) -> AsyncIterator[tuple[httpx.AsyncClient, asyncio.Event]]:
    async with serving(app) as opened:
        yield opened


@pytest.fixture
def near(served: tuple[httpx.AsyncClient, asyncio.Event]) -> httpx.AsyncClient:
    """A client over the socket."""
    return served[0]


async def test_a_stream_tells_what_comes_and_goes_on_where_it_was(near: httpx.AsyncClient, ada: Person) -> None:
    async with streaming(near, ada.headers) as stream:
        assert stream.answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert (stream.answer.headers["cache-control"], stream.answer.headers["x-accel-buffering"]) == (
            "no-store",
            "no",
        )
        first = await stream.block()
        assert (set(first.fields), first.fields["retry"]) == ({"retry", "id"}, "3000")
        one = await make(near, ada, "One")
        told = await stream.event()
        assert (told.fields["event"], told.data["entity_id"], told.data["action"]) == ("entry", one, "created")
    two = await make(near, ada, "Two")
    again = {**ada.headers, "Last-Event-ID": told.fields["id"]}
    async with streaming(near, again, {"after": "beginning"}) as stream:
        assert (await stream.event()).data["entity_id"] == two
    async with streaming(near, {**ada.headers, "Last-Event-ID": first.fields["id"]}) as stream:
        assert [(await stream.event()).data["entity_id"] for _ in range(2)] == [one, two]


async def test_the_data_of_an_event_is_the_entry_of_the_list(near: httpx.AsyncClient, ada: Person) -> None:
    await make(near, ada)
    (listed,) = (await near.get("/timeline/list", headers=ada.headers)).json()["data"]
    async with streaming(near, ada.headers, BEGINNING) as stream:
        assert (await stream.event()).data == listed


async def test_without_waiting_it_tells_what_is_there_and_where_that_ends(
    client: httpx.AsyncClient, ada: Person
) -> None:
    rows = {"items": [{"title": f"Number {number}"} for number in range(450)]}
    results = (await client.post("/items/bulk/create", json=rows, headers=ada.headers)).json()["results"]
    made = [result["item"]["item_id"] for result in results]
    answer = await client.get("/timeline/live", params={"wait": "0", **BEGINNING}, headers=ada.headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    _, *entries, end = parse(answer.text)
    assert [entry.data["entity_id"] for entry in entries] == made
    assert (end.fields["event"], end.data) == ("end", {"reason": "waited"})
    new = await make(client, ada)
    rest = await client.get("/timeline/live", params={"wait": "0", "after": end.fields["id"]}, headers=ada.headers)
    assert [each.data["entity_id"] for each in parse(rest.text)[1:-1]] == [new]
    nothing = await client.get("/timeline/live", params={"wait": "0"}, headers=ada.headers)
    assert [set(each.fields) for each in parse(nothing.text)] == [{"retry", "id"}, {"id", "event", "data"}]


async def test_one_thing_is_told_alone(client: httpx.AsyncClient, ada: Person) -> None:
    await make(client, ada, "Noise")
    one = await make(client, ada)
    query = {"wait": "0", **BEGINNING, "entity_type": "item", "entity_id": one}
    answer = await client.get("/timeline/live", params=query, headers=ada.headers)
    assert [each.data["entity_id"] for each in parse(answer.text)[1:-1]] == [one]


@pytest.mark.parametrize(
    ("headers", "query", "field"),
    [
        ({"Last-Event-ID": "forged"}, {}, "header.last-event-id"),
        ({"Last-Event-ID": "AgAA" * 20}, {"after": "beginning"}, "header.last-event-id"),
        ({}, {"after": "forged"}, "query.after"),
        ({}, {"after": ""}, "query.after"),
        ({}, {"wait": "-1"}, "query.wait"),
        ({}, {"wait": "86401"}, "query.wait"),
        ({}, {"entity_type": "item"}, "query.entity_id"),
    ],
)
async def test_a_wrong_parameter_is_named(
    client: httpx.AsyncClient, ada: Person, headers: dict[str, str], query: dict[str, str], field: str
) -> None:
    answer = await client.get("/timeline/live", params=query, headers={**ada.headers, **headers})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


async def test_a_position_of_another_workspace_is_refused(client: httpx.AsyncClient, ada: Person, bob: Person) -> None:
    await make(client, ada)
    asked = {"wait": "0", **BEGINNING}
    told = parse((await client.get("/timeline/live", params=asked, headers=ada.headers)).text)[1]
    answer = await client.get("/timeline/live", headers={**bob.headers, "Last-Event-ID": told.fields["id"]})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "invalid_cursor")
    listing = await client.get("/timeline/list", params={"cursor": told.fields["id"]}, headers=ada.headers)
    assert listing.status_code == 422


async def test_other_workspaces_changes_do_not_come(near: httpx.AsyncClient, ada: Person, bob: Person) -> None:
    async with streaming(near, ada.headers, BEGINNING) as stream:
        await make(near, bob, "Theirs")
        ours = await make(near, ada, "Ours")
        assert (await stream.event()).data["entity_id"] == ours


async def test_who_is_not_let_in_gets_a_problem_and_no_stream(
    client: httpx.AsyncClient, ada: Person, bob: Person
) -> None:
    for headers, status in (({}, 401), (ada.within(bob.workspace_id), 404), (ada.within("x"), 422)):
        answer = await client.get("/timeline/live", headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


async def test_a_revoked_session_is_told_nothing_more(near: httpx.AsyncClient, ada: Person) -> None:
    credentials = {"email": ada.email, "password": "correct horse battery"}
    other = (await near.post("/auth/sign-in", json=credentials)).json()
    headers = {"Authorization": f"Bearer {other['token']}"}
    async with streaming(near, headers, BEGINNING) as stream:
        await make(near, ada, "Before")
        assert (await stream.event()).fields["event"] == "entry"
        await near.post("/auth/sessions/revoke", json={"session_id": other["session_id"]}, headers=ada.headers)
        await make(near, ada, "After")
        end = await stream.event()
        assert (end.fields["event"], end.data) == ("end", {"reason": "unauthenticated"})
        assert await stream.ended()


async def test_a_revoked_key_a_suspended_member_and_a_removed_one_are_told_nothing_more(
    near: httpx.AsyncClient, ada: Person, bob: Person, sign_up: SignUp, join: Join
) -> None:
    cleo = await sign_up("cleo")
    suspended, removed = await join(ada, bob, "viewer"), await join(ada, cleo, "admin")
    key = (await near.post("/api-keys/create", json={"name": "k", "role": "viewer"}, headers=ada.headers)).json()
    keyed = {"Authorization": f"Bearer {key['key']}"}
    ends = [
        (suspended, "/workspaces/members/change", {"user_id": str(bob.user_id), "status": "suspended"}, "not_found"),
        (removed, "/workspaces/members/remove", {"user_id": str(cleo.user_id)}, "not_found"),
        (keyed, "/api-keys/revoke", {"key_id": key["key_id"]}, "unauthenticated"),
    ]
    for headers, path, body, reason in ends:
        async with streaming(near, headers) as stream:
            await stream.block()
            answer = await near.post(path, json=body, headers=ada.headers)
            assert answer.is_success, answer.text
            await make(near, ada, "After")
            end = await stream.event()
            assert (end.fields["event"], end.data) == ("end", {"reason": reason})
            assert await stream.ended()


async def test_whoever_loses_the_workspace_is_not_moved_to_another_one(
    near: httpx.AsyncClient, ada: Person, bob: Person, join: Join
) -> None:
    """A session that names no workspace acts in the oldest membership, which is another one after a while."""
    await join(ada, bob, "viewer")
    async with streaming(near, bob.headers) as stream:
        await stream.block()
        mine = str(bob.workspace_id)
        heir = {"email": ada.email, "role": "admin"}
        invite = (await near.post("/workspaces/invites/create", json=heir, headers=bob.headers)).json()
        await near.post("/workspaces/invites/accept", json={"token": invite["token"]}, headers=ada.headers)
        transfer = {"user_id": str(ada.user_id)}
        moved = await near.post("/workspaces/ownership/transfer", json=transfer, headers=bob.within(mine))
        assert moved.is_success, moved.text
        left = await near.post("/workspaces/members/leave", headers=bob.within(mine))
        assert left.is_success, left.text
        await near.post("/items/create", json={"title": "After"}, headers=ada.within(mine))
        assert (await stream.event()).data == {"reason": "not_found"}


# Bounds -----------------------------------------------------------------------------------------------------------


def with_api(lane: OpenLane, **api: Any) -> FastAPI:
    settings = Settings(api=ApiSettings(**api))
    return create_app(replace(lane, settings=settings), [work_routes.router])


async def test_a_process_and_a_workspace_have_room_for_so_many(lane: OpenLane, ada: Person, bob: Person) -> None:
    async with serving(with_api(lane, live_streams=3, live_streams_per_workspace=2)) as (near, _):
        async with streaming(near, ada.headers), streaming(near, ada.headers):
            refused = await near.get("/timeline/live", headers=ada.headers)
            assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (
                429,
                "rate_limited",
                "5",
            )
            async with streaming(near, bob.headers):
                full = await near.get("/timeline/live", headers=bob.headers)
                assert (full.status_code, full.json()["code"], full.headers["retry-after"]) == (503, "busy", "5")
                assert "api.live_streams" in full.json()["detail"]
                assert open_streams() == 3
        await until_open(0)
        async with streaming(near, ada.headers) as stream:
            assert await stream.block()


async def test_an_idle_stream_has_a_heartbeat_that_says_where_it_is(lane: OpenLane, ada: Person, bob: Person) -> None:
    app = with_api(lane, live_heartbeat=timedelta(milliseconds=50))
    async with serving(app) as (near, _), streaming(near, ada.headers) as stream:
        start = await stream.block()
        await make(near, bob, "Moves the server on")
        async with asyncio.timeout(PATIENCE):
            while (await stream.block()).fields["id"] == start.fields["id"]:
                pass
        assert open_streams() == 1


async def test_a_stopping_server_says_so_and_does_not_wait(
    served: tuple[httpx.AsyncClient, asyncio.Event], ada: Person
) -> None:
    near, stop = served
    async with streaming(near, ada.headers) as stream:
        await stream.block()
        stop.set()
        end = await stream.event()
        assert (end.fields["event"], end.data) == ("end", {"reason": "shutdown"})
        assert await stream.ended()
    await until_open(0)


async def test_a_stream_is_one_line_in_the_log_and_measured_until_it_begins(
    near: httpx.AsyncClient, ada: Person, log: Log
) -> None:
    labels = {"method": "GET", "route": "/timeline/live", "status": "200"}
    name = "datalane_http_request_duration_seconds"

    def measured(of: str) -> float:
        return REGISTRY.get_sample_value(f"{name}_{of}", labels) or 0.0

    count, attempts = measured("count"), authentications()
    async with streaming(near, {**ada.headers, "X-Correlation-Id": "the-stream"}, BEGINNING) as stream:
        assert measured("count") == count + 1
        for number in range(3):
            await make(near, ada, f"Number {number}")
            await stream.event()
        assert [line for line in log.lines if line.get("route") == "/timeline/live"] == []
    await until_open(0)
    async with asyncio.timeout(PATIENCE):
        while not (lines := [line for line in log.lines if line.get("route") == "/timeline/live"]):
            await asyncio.sleep(0)
    (line,) = lines
    assert (line["event"], line["status"], line["correlation_id"]) == ("request", 200, "the-stream")
    assert measured("count") == count + 1
    assert authentications() == attempts + 4, "looking again is no attempt to prove who one is"


def authentications() -> float:
    labels = {"method": "session", "outcome": "success"}
    return REGISTRY.get_sample_value("datalane_authentications_total", labels) or 0.0


class Client:
    """What a stream is sent, taken only when the test lets it."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.takes = asyncio.Semaphore(0)
        self.left = asyncio.Event()

    async def send(self, message: Message) -> None:
        self.messages.append(message)
        await self.takes.acquire()

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}


async def until(condition: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0)


async def test_a_slow_client_holds_one_piece_and_no_more() -> None:
    made, closed, client = [], [], Client()

    async def pieces() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                made.append(b"x")
                yield b": x\n\n"
        finally:
            closed.append(True)

    streams = Streams(ApiSettings())
    running = asyncio.create_task(EventStream(pieces(), streams, uuid7())({}, client.receive, client.send))
    client.takes.release()
    for taken in range(1, 6):
        await until(lambda taken=taken: len(client.messages) == taken + 1)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(made) == taken, "a piece was made before the one before was taken"
        client.takes.release()
    client.left.set()
    await asyncio.wait_for(running, PATIENCE)
    assert (closed, open_streams()) == ([True], 0)


async def test_a_client_that_takes_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams_module, "_PATIENCE_SECONDS", 0.01)
    client = Client()

    async def pieces() -> AsyncGenerator[bytes, None]:
        yield b": x\n\n"

    client.takes.release()
    with pytest.raises(ClientDisconnect):
        await asyncio.wait_for(
            EventStream(pieces(), Streams(ApiSettings()), uuid7())({}, client.receive, client.send), PATIENCE
        )
    assert open_streams() == 0


def test_the_usual_pace_looks_every_few_seconds_without_a_notification() -> None:
    assert Pace().poll <= 5
