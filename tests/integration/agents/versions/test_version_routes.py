"""Versions and prices over HTTP: made once, listed in pages, refused by their fields, closed to others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from tests.integration.api.conftest import Join, Person, SignUp, without_correlation

from datalane.kit.ids import uuid7

pytestmark = pytest.mark.one_database

NOUNS: dict[str, tuple[dict[str, Any], str]] = {
    "prompts": ({"name": "answer", "template": "Answer {question}."}, "prompt_version_id"),
    "models": ({"provider": "owls", "model": "owl-1", "revision": "2026-01"}, "model_version_id"),
    "output-schemas": ({"name": "answer", "json_schema": {"type": "object"}}, "output_schema_version_id"),
}


async def post(client: httpx.AsyncClient, headers: dict[str, str], path: str, body: Any) -> httpx.Response:
    return await client.post(f"/agents/{path}", json=body, headers=headers)


async def model_of(client: httpx.AsyncClient, who: Person, model: str = "owl-1") -> str:
    answer = await post(client, who.headers, "models/register", {"provider": "owls", "model": model})
    return str(answer.json()["model_version_id"])


async def price(client: httpx.AsyncClient, who: Person, **said: Any) -> httpx.Response:
    body = {"currency": "USD", "input_per_million": "3", "output_per_million": "15", **said}
    return await post(client, who.headers, "prices/create", body)


@pytest.mark.parametrize("noun", NOUNS)
async def test_what_is_registered_is_201_when_new_200_when_there_and_read_by_its_id(
    client: httpx.AsyncClient, ada: Person, noun: str
) -> None:
    body, key = NOUNS[noun]
    first = await post(client, ada.headers, f"{noun}/register", body)
    again = await post(client, ada.headers, f"{noun}/register", body)
    assert (first.status_code, again.status_code) == (201, 200), first.text
    made = first.json()
    assert (made.pop("created"), again.json()) == (True, {**made, "created": False})
    read = (await client.get(f"/agents/{noun}/{made[key]}", headers=ada.headers)).json()
    assert {**made, **{name: body[name] for name in ("template", "json_schema") if name in body}} == read
    listed = await client.get(f"/agents/{noun}/list", headers=ada.headers)
    assert listed.json() == {"data": [made], "page_size": 25, "next_cursor": None}


async def test_an_idempotency_key_answers_as_the_first_time(client: httpx.AsyncClient, ada: Person) -> None:
    headers = {**ada.headers, "Idempotency-Key": "register-1"}
    answers = [await post(client, headers, "prompts/register", NOUNS["prompts"][0]) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()


async def test_a_price_is_set_listed_and_read(client: httpx.AsyncClient, ada: Person) -> None:
    model = await model_of(client, ada)
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    made = [
        (await price(client, ada, model_version_id=model, cached_input_per_million=0.30)).json(),
        (await price(client, ada, model_version_id=model, input_per_million=2, effective_at=later)).json(),
    ]
    assert [(one["input_per_million"], one["cached_input_per_million"]) for one in made] == [("3", "0.3"), ("2", None)]
    assert made[0]["effective_at"] == made[0]["created_at"]
    await price(client, ada, model_version_id=await model_of(client, ada, "owl-2"))
    asked = {"model_version_id": model}
    listed = (await client.get("/agents/prices/list", params=asked, headers=ada.headers)).json()
    assert listed["data"] == made[::-1]
    read = await client.get(f"/agents/prices/{made[0]['price_version_id']}", headers=ada.headers)
    assert read.json() == made[0]


@pytest.mark.parametrize("noun", [*NOUNS, "prices"])
async def test_a_list_is_walked_by_its_cursor_which_is_good_for_no_other(
    client: httpx.AsyncClient, ada: Person, bob: Person, noun: str
) -> None:
    key = NOUNS[noun][1] if noun in NOUNS else "price_version_id"
    narrowing = {"prompts": "name", "output-schemas": "name", "models": "provider"}.get(noun, "model_version_id")
    for number in range(3):
        said: dict[str, Any] = {"prompts": {"template": f"T{number}"}, "models": {"model": f"m{number}"}}.get(noun, {})
        said |= {"json_schema": {"title": f"S{number}"}} if noun == "output-schemas" else {}
        if noun == "prices":
            made = await price(client, ada, model_version_id=await model_of(client, ada))
        else:
            made = await post(client, ada.headers, f"{noun}/register", {**NOUNS[noun][0], **said})
        assert made.status_code == 201, made.text
    value = {"name": "answer", "provider": "owls"}.get(narrowing) or await model_of(client, ada)

    async def get(**asked: Any) -> httpx.Response:
        return await client.get(f"/agents/{noun}/list", params=asked, headers=ada.headers)

    everything = [row[key] for row in (await get()).json()["data"]]
    assert everything == sorted(everything, reverse=True)
    assert len(everything) == 3
    for asked in ({}, {narrowing: value}):
        page = (await get(page_size=2, **asked)).json()
        rest = (await get(cursor=page["next_cursor"], **asked)).json()
        assert [row[key] for row in (*page["data"], *rest["data"])] == everything
        assert rest["next_cursor"] is None
    nothing = str(uuid7()) if noun == "prices" else "nothing"
    assert (await get(**{narrowing: nothing})).json()["data"] == []
    refused = [await get(cursor=page["next_cursor"]), await get(cursor="x"), await get(page_size=101)]
    refused.append(
        await client.get(
            f"/agents/{noun}/list", params={"cursor": page["next_cursor"], narrowing: value}, headers=bob.headers
        )
    )
    assert [answer.status_code for answer in refused] == [422] * 4


@pytest.mark.parametrize(
    ("path", "said", "field"),
    [
        ("prompts/register", {"name": ""}, "body.name"),
        ("prompts/register", {"name": " \t"}, "body.name"),
        ("prompts/register", {"name": "x" * 201}, "body.name"),
        ("prompts/register", {"name": "a\x00b"}, "body.name"),
        ("prompts/register", {"name": "a\nb"}, "body.name"),
        ("prompts/register", {"name": "a\u202eb"}, "body.name"),
        ("prompts/register", {"template": ""}, "body.template"),
        ("prompts/register", {"template": "a\x00b"}, "body.template"),
        ("prompts/register", {"template": "x" * 65_537}, "body.template"),
        ("prompts/register", {"template": "ü" * 32_769}, "body.template"),
        ("prompts/register", {"version": 7}, "body.version"),
        ("models/register", {"provider": "\u2066owls"}, "body.provider"),
        ("models/register", {"model": 1}, "body.model"),
        ("models/register", {"revision": None}, "body.revision"),
        ("output-schemas/register", {"json_schema": True}, "body.json_schema"),
        ("output-schemas/register", {"json_schema": {"type": "nope"}}, "body.json_schema"),
        ("output-schemas/register", {"json_schema": {"$ref": "https://example.com/s"}}, "body.json_schema"),
    ],
)
async def test_what_is_wrong_with_a_version_is_named(
    client: httpx.AsyncClient, ada: Person, path: str, said: dict[str, Any], field: str
) -> None:
    answer = await post(client, ada.headers, path, {**NOUNS[path.partition("/")[0]][0], **said})
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field]), answer.text


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"currency": "usd"}, "body.currency"),
        ({"currency": "USDT"}, "body.currency"),
        ({"currency": "USD\n"}, "body.currency"),
        ({"input_per_million": -1}, "body.input_per_million"),
        ({"input_per_million": "1e400"}, "body.input_per_million"),
        ({"output_per_million": None}, "body.output_per_million"),
        ({"reasoning_per_million": "NaN"}, "body.reasoning_per_million"),
        ({"effective_at": "2020-01-01T00:00:00Z"}, "body.effective_at"),
        ({"effective_at": "2099-01-01T00:00:00"}, "body.effective_at"),
        ({"model_version_id": "owl-1"}, "body.model_version_id"),
    ],
)
async def test_what_is_wrong_with_a_price_is_named(
    client: httpx.AsyncClient, ada: Person, said: dict[str, Any], field: str
) -> None:
    answer = await price(client, ada, **{"model_version_id": await model_of(client, ada), **said})
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field]), answer.text


async def test_a_price_that_is_no_number_and_a_template_beyond_the_body_are_refused(
    client: httpx.AsyncClient, ada: Person
) -> None:
    for amount in ("NaN", "1e400", "-Infinity"):
        body = '{"model_version_id": "%s", "currency": "USD", "output_per_million": 1, "input_per_million": %s}'
        answer = await client.post(
            "/agents/prices/create",
            content=body % (await model_of(client, ada), amount),
            headers={**ada.headers, "Content-Type": "application/json"},
        )
        assert answer.status_code == 422, answer.text
    large = await post(client, ada.headers, "prompts/register", {"name": "x", "template": "x" * 10_000_000})
    assert large.status_code == 413
    entangled = {"items": {"allOf": [{"pattern": f"x{number}"} for number in range(200)]}}
    refused = await post(client, ada.headers, "output-schemas/register", {"name": "x", "json_schema": entangled})
    assert (refused.status_code, refused.json()["code"]) == (413, "limit_exceeded")


async def test_a_filter_that_cannot_be_text_finds_nothing_or_is_refused(client: httpx.AsyncClient, ada: Person) -> None:
    for text in ("a\x00b", "\u202e", "'; --"):
        answer = await client.get("/agents/prompts/list", params={"name": text}, headers=ada.headers)
        assert answer.status_code in {200, 422}, answer.text
        assert answer.json().get("data", []) == []


async def test_viewers_read_members_register_admins_set_prices(
    client: httpx.AsyncClient, ada: Person, sign_up: SignUp, join: Join
) -> None:
    model = await model_of(client, ada)
    body = {"model_version_id": model, "currency": "EUR", "input_per_million": 1, "output_per_million": 1}
    for role, registers, prices in (("viewer", 403, 403), ("member", 201, 403), ("admin", 201, 201)):
        headers = await join(ada, await sign_up(role), role)
        said = {**NOUNS["prompts"][0], "template": f"Of the {role}"}
        assert (await post(client, headers, "prompts/register", said)).status_code == registers
        assert (await post(client, headers, "prices/create", body)).status_code == prices
        assert (await client.get(f"/agents/models/{model}", headers=headers)).status_code == 200
    assert (await client.get(f"/agents/models/{model}")).status_code == 401


async def test_a_thing_of_another_workspace_is_not_there(client: httpx.AsyncClient, ada: Person, bob: Person) -> None:
    model = await model_of(client, ada)
    ids = {
        noun: (await post(client, ada.headers, f"{noun}/register", body)).json()[key]
        for noun, (body, key) in NOUNS.items()
    }
    ids["prices"] = (await price(client, ada, model_version_id=model)).json()["price_version_id"]
    for noun, known in ids.items():
        theirs = await client.get(f"/agents/{noun}/{known}", headers=bob.headers)
        nothing = await client.get(f"/agents/{noun}/{uuid7()}", headers=bob.headers)
        assert without_correlation(theirs) == without_correlation(nothing)
        assert theirs.status_code == 404
    refused = [await price(client, bob, model_version_id=one) for one in (model, str(uuid7()))]
    assert without_correlation(refused[0]) == without_correlation(refused[1])
    assert refused[0].status_code == 404
    assert UUID(model)
