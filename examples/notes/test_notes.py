"""Notes over HTTP, on a lane that runs. Needs NOTES_URL, and the token of a member in NOTES_TOKEN."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {os.environ['NOTES_TOKEN']}"}
    with httpx.Client(base_url=os.environ["NOTES_URL"], headers=headers) as opened:
        yield opened


def write(client: httpx.Client, text: str) -> dict[str, Any]:
    answer = client.post("/notes/create", json={"text": text})
    assert answer.status_code == 201, answer.text
    note: dict[str, Any] = answer.json()
    return note


def test_a_note_is_written_moved_and_read(client: httpx.Client) -> None:
    note = write(client, "Paint the fence")
    move = {"note_id": note["note_id"], "version": 1, "status": "done"}
    assert client.post("/notes/move", json=move).json()["status"] == "done"
    assert client.get(f"/notes/{note['note_id']}").json()["version"] == 2
    late = client.post("/notes/move", json=move)
    assert (late.status_code, late.json()["code"], late.json()["current"]["status"]) == (409, "stale_version", "done")
    again = client.post("/notes/move", json={**move, "version": 2})
    assert (again.status_code, again.json()["code"]) == (409, "illegal_transition")


def test_the_newest_note_comes_first_and_pages_go_on(client: httpx.Client) -> None:
    first, second = write(client, "The first one"), write(client, "The second one")
    page = client.get("/notes/list", params={"page_size": 1}).json()
    assert page["data"][0]["note_id"] == second["note_id"]
    page = client.get("/notes/list", params={"page_size": 1, "cursor": page["next_cursor"]}).json()
    assert page["data"][0]["note_id"] == first["note_id"]


def test_a_note_that_is_none_is_refused(client: httpx.Client) -> None:
    for body in ({"text": ""}, {"text": "a\0b"}, {"text": "x" * 2_001}, {"text": "x", "colour": "red"}, {}):
        assert client.post("/notes/create", json=body).status_code == 422
    assert client.get("/notes/00000000-0000-0000-0000-000000000000").status_code == 404
