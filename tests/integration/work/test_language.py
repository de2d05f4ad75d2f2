"""The language of a workspace: its texts and what is looked for in them are cut by the same rules."""

from __future__ import annotations

import httpx
from tests.integration.api.conftest import Person, SignUp

from datalane.contracts.context import Context, Role
from datalane.db.database import Database


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
    assert "indexed as english already" in late.json()["detail"]
    assert (await set_to("english")).status_code == 200, "which it is"
