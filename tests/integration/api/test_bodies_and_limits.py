"""What a request may carry: strict JSON, counted bytes, checked headers. Over a real socket where it matters."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Annotated

import httpx
import pytest
import uvicorn
from fastapi import APIRouter, File, UploadFile
from tests.integration.api.conftest import OpenLane, Person

from datalane.api.app import create_app
from datalane.contracts.http import Door, LateTransaction
from datalane.engine.permissions import PUBLISH
from datalane.settings import Limits, Settings

pytestmark = pytest.mark.one_database

MIB = 1024 * 1024


def upload_router(door: Door) -> APIRouter:
    routes = door.router(prefix="/files", tags=["files"])

    @routes.post("/upload")
    async def upload(
        file: Annotated[UploadFile, File()], late: LateTransaction = door.uploader(PUBLISH)
    ) -> dict[str, int]:
        tx = await late.begin()
        assert tx.context.role.rank >= 2
        return {"size": len(await file.read())}

    return routes


@pytest.fixture
async def server(lane: OpenLane) -> AsyncIterator[httpx.AsyncClient]:
    """The application behind a real uvicorn, with small limits for uploads."""
    small = OpenLane(lane.database, Settings(limits=Limits(upload=3 * MIB)))
    listener = socket.create_server(("127.0.0.1", 0))
    running = uvicorn.Server(uvicorn.Config(create_app(small, [upload_router]), log_config=None, lifespan="off"))
    task = asyncio.create_task(running.serve(sockets=[listener]))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
        yield client
    running.should_exit = True
    await task


async def chunks(total: int, piece: int = 65_536) -> AsyncIterator[bytes]:
    for start in range(0, total, piece):
        yield b" " * min(piece, total - start)


def padded(size: int) -> bytes:
    body = b'{"name": "A"}'
    return body + b" " * (size - len(body))


async def test_a_body_of_exactly_the_limit_passes_and_one_byte_more_is_refused(
    server: httpx.AsyncClient, ada: Person
) -> None:
    headers = {**ada.headers, "Content-Type": "application/json"}
    assert (await server.post("/workspaces/create", content=padded(MIB), headers=headers)).status_code == 201
    over = await server.post("/workspaces/create", content=padded(MIB + 1), headers=headers)
    assert (over.status_code, over.json()["code"]) == (413, "limit_exceeded")
    assert over.json()["detail"] == f"the request body is over the limit of {MIB} bytes (limits.request_body)"


async def test_a_body_without_a_declared_length_is_counted_as_it_comes(server: httpx.AsyncClient, ada: Person) -> None:
    headers = {**ada.headers, "Content-Type": "application/json"}
    over = await server.post("/workspaces/create", content=chunks(MIB + 1), headers=headers)
    assert (over.status_code, over.json()["code"]) == (413, "limit_exceeded")


async def test_nobody_unknown_gets_a_large_body_read(server: httpx.AsyncClient) -> None:
    answer = await server.post("/workspaces/create", content=padded(MIB + 1))
    assert answer.status_code == 401
    public = await server.post("/auth/sign-in", content=padded(MIB + 1), headers={"Content-Type": "application/json"})
    assert public.status_code == 413


async def test_only_the_upload_route_takes_an_upload_and_it_has_its_own_limit(
    server: httpx.AsyncClient, ada: Person
) -> None:
    fits = await server.post("/files/upload", files={"file": ("a.txt", b"x" * 2 * MIB)}, headers=ada.headers)
    assert fits.json() == {"size": 2 * MIB}
    over = await server.post("/files/upload", files={"file": ("a.txt", b"x" * 4 * MIB)}, headers=ada.headers)
    assert over.status_code == 413
    assert "limits.upload" in over.json()["detail"]


async def test_the_same_file_sent_again_with_a_key_is_one_request_whatever_its_boundary(
    server: httpx.AsyncClient, ada: Person
) -> None:
    headers = {**ada.headers, "Idempotency-Key": "u-1"}
    first = await server.post("/files/upload", files={"file": ("a.txt", b"one")}, headers=headers)
    again = await server.post("/files/upload", files={"file": ("a.txt", b"one")}, headers=headers)
    other = await server.post("/files/upload", files={"file": ("a.txt", b"two")}, headers=headers)
    assert first.json() == again.json() == {"size": 3}
    assert again.headers["idempotent-replayed"] == "true"
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"name": "A", "name": "B"}', "the body has the key 'name' more than once in one object"),
        (b'{"name": NaN}', "the body holds NaN, which is not JSON"),
        (b'{"name": -Infinity}', "the body holds -Infinity, which is not JSON"),
        (b'{"name": 1e999}', "the body holds the number 1e999, which is too large"),
        (b'{"name": "\\ud800"}', "the body holds a lone surrogate (half of a character pair), which is not text"),
        (b"[" * 100_000, "the body is nested deeper than 64 levels"),
        (b'{"name": "\xff"}', "the body is not UTF-8: byte 10 cannot be decoded"),
        (b'{"name": "A"', "the body is not valid JSON: Expecting ',' delimiter at line 1 column 13"),
    ],
)
async def test_ambiguous_json_is_refused_with_its_reason(
    client: httpx.AsyncClient, ada: Person, body: bytes, message: str
) -> None:
    headers = {**ada.headers, "Content-Type": "application/json"}
    answer = await client.post("/workspaces/create", content=body, headers=headers)
    assert (answer.status_code, answer.json()["detail"]) == (422, message)
    assert answer.json()["errors"] == [{"field": "body", "message": message, "code": "json"}]


async def test_a_body_of_another_media_type_is_refused(client: httpx.AsyncClient, ada: Person) -> None:
    answer = await client.post(
        "/workspaces/create", content=b'{"name": "A"}', headers={**ada.headers, "Content-Type": "text/plain"}
    )
    assert (answer.status_code, answer.json()["detail"]) == (
        422,
        "send the body as JSON, with Content-Type: application/json",
    )


@pytest.mark.parametrize(
    "value", [b"a b", b"x" * 65, b"\xc3\xbc", b"", b"a\nSet-Cookie: x=1", b"a\r\n", b"'; RESET ROLE; --", b"{}"]
)
async def test_a_malformed_correlation_id_is_refused_and_never_sent_back(
    client: httpx.AsyncClient, ada: Person, value: bytes
) -> None:
    headers = [(b"authorization", ada.headers["Authorization"].encode()), (b"x-correlation-id", value)]
    answer = await client.get("/auth/me", headers=headers)
    assert answer.status_code == 422
    assert "X-Correlation-Id" in answer.json()["detail"]
    assert answer.headers["x-correlation-id"] == answer.json()["correlation_id"]
    assert answer.headers["x-correlation-id"].isalnum()


async def test_a_correlation_id_comes_back_on_answers_and_problems(client: httpx.AsyncClient, ada: Person) -> None:
    headers = {**ada.headers, "X-Correlation-Id": "order-66.a_b"}
    assert (await client.get("/auth/me", headers=headers)).headers["x-correlation-id"] == "order-66.a_b"
    missing = await client.get("/nothing", headers=headers)
    assert missing.headers["x-correlation-id"] == missing.json()["correlation_id"] == "order-66.a_b"
    twice = await client.get("/auth/me", headers=[*headers.items(), ("X-Correlation-Id", "b")])
    assert twice.status_code == 422
