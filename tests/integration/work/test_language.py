"""The language of a workspace: its texts and what is looked for in them are cut by the same rules."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from tests.integration.api.conftest import Person, SignUp
from tests.integration.knowledge.library import until_somebody_waits
from tests.integration.work.conftest import Desk

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.errors import Conflict
from datalane.identity.workspaces import set_search_language
from datalane.work.items import service as items
from datalane.work.items.schemas import NewItem


async def test_texts_are_cut_by_the_language_of_the_workspace(
    client: httpx.AsyncClient, ada: Person, sign_up: SignUp, database: Database
) -> None:
    bob = await sign_up("bob")
    said = {"search_language": "german"}
    told = await client.post("/workspaces/search-language/set", json=said, headers=ada.headers)
    assert (told.status_code, told.json()["search_language"]) == (200, "german")
    found = {}
    for person in (ada, bob):
        await client.post("/items/create", json={"title": "Alte Häuser"}, headers=person.headers)
        listed = await client.get("/items/list", params={"text": "Haus"}, headers=person.headers)
        found[person.user_id] = [item["title"] for item in listed.json()["data"]]
    assert found == {ada.user_id: ["Alte Häuser"], bob.user_id: []}, "bob's workspace is English"
    async with database.transaction(Context(ada.workspace_id, ada.user_id, Role.OWNER)) as tx:
        [audit] = await tx.fetch(
            "SELECT before, after FROM datalane.audit_records WHERE action = 'workspace.search_language_set'"
        )
    assert tuple(audit) == ({"search_language": "english"}, said)


async def test_a_language_that_comes_too_late_or_is_none_is_refused(client: httpx.AsyncClient, ada: Person) -> None:
    async def set_to(language: str) -> httpx.Response:
        said = {"search_language": language}
        return await client.post("/workspaces/search-language/set", json=said, headers=ada.headers)

    unknown = await set_to("klingon")
    assert (unknown.status_code, unknown.json()["code"]) == (422, "invalid_input")
    assert "english, estonian" in unknown.json()["detail"]
    assert (await set_to("pg_catalog.german")).status_code == 422
    await client.post("/items/create", json={"title": "Old houses"}, headers=ada.headers)
    late = await set_to("german")
    assert (late.status_code, late.json()["code"]) == (409, "conflict")
    assert "indexed as english already (1 of them" in late.json()["detail"]
    assert (await set_to("english")).status_code == 200, "which it is"


async def test_a_text_that_is_being_indexed_holds_the_language(desk: Desk) -> None:
    """Who sets another one waits for it, and is then told that a text is there."""

    async def set_to_german() -> None:
        async with desk.database.transaction(desk.context) as tx:
            await set_search_language(tx, "german")

    async with desk.database.transaction(desk.context) as tx:
        await items.create_item(tx, NewItem(title="Old houses"))
        setting = asyncio.create_task(set_to_german())
        await until_somebody_waits(tx.connection)
    with pytest.raises(Conflict, match="indexed as english already"):
        await setting
