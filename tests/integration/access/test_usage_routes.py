"""Usage and entitlements over HTTP: what is refused and how, what a page shows, and quotas around an application."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.apps import shared_app
from tests.integration.access.conftest import plans_of
from tests.integration.api.conftest import (
    Join,
    OpenLane,
    Person,
    SignUp,
    ada,
    bob,
    client,
    join,
    lane,
    sign_up,
    without_correlation,
)

from datalane.access import routes
from datalane.access.entitlements.plans import Plan, Quota, register_plans
from datalane.access.entitlements.service import assign_plan, override_feature
from datalane.access.usage.enforcing import RequestQuota, Usage, metered
from datalane.access.usage.middleware import UsageMiddleware
from datalane.api.app import create_app
from datalane.contracts.context import Context, Role
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.db.transaction import Transaction
from datalane.engine.registration import register
from datalane.errors import UsageLimitReached

__all__ = ["ada", "bob", "client", "join", "lane", "sign_up"]

pytestmark = pytest.mark.one_database

PLAN = Plan(
    "shop",
    ("reports.export", "search"),
    {
        "api.requests": Quota(3, "hour"),
        "reports": Quota(10, "day"),
        "unbounded": Quota(None, "day"),
        "search": Quota(1, "rolling", seconds=3_600),
    },
)


@pytest.fixture
def app(lane: OpenLane) -> FastAPI:
    return shared_app(lane, routes.router)


@pytest.fixture
async def shop(database: Database, ada: Person) -> Person:
    """Ada's workspace has a plan."""
    await register(database, {}, [], list(EVENTS))
    await register_plans(database, plans_of(PLAN))
    async with database.transaction(Context.system(ada.workspace_id)) as tx:
        await assign_plan(tx, "shop")
    return ada


async def post(client: httpx.AsyncClient, person: Person, path: str, **said: Any) -> httpx.Response:
    return await client.post(path, json=said, headers=person.headers)


async def test_units_are_used_and_refused_with_all_that_a_client_needs(client: httpx.AsyncClient, shop: Person) -> None:
    used = await post(client, shop, "/usage/consume", quota_key="reports", units=9, idempotency_key="1")
    assert used.status_code == 200, used.text
    told = used.json()
    assert (told["outcome"], told["consumed_units"], told["remaining_units"]) == ("accepted", 9, 1)
    again = await post(client, shop, "/usage/consume", quota_key="reports", units=9, idempotency_key="1")
    assert again.json()["outcome"] == "replayed"
    refused = await post(client, shop, "/usage/consume", quota_key="reports", units=2, idempotency_key="2")
    assert (refused.status_code, refused.headers["content-type"]) == (429, "application/problem+json")
    problem = refused.json()
    assert (problem["code"], problem["quota_key"]) == ("usage_limit_reached", "reports")
    assert (problem["limit_units"], problem["remaining_units"]) == (10, 1)
    assert problem["detail"] == "9 of 10 units of reports are used; 2 more do not fit"
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
    never = await post(client, shop, "/usage/consume", quota_key="reports", units=11, idempotency_key="3")
    assert (never.status_code, "retry-after" in never.headers) == (429, False)
    other = await post(client, shop, "/usage/consume", quota_key="reports", units=3, idempotency_key="1")
    assert other.status_code == 409


async def test_a_refused_use_is_told_of_though_the_request_failed(
    client: httpx.AsyncClient, shop: Person, database: Database
) -> None:
    for units, key in ((11, "never"), (9, "1"), (2, "2")):
        await post(client, shop, "/usage/consume", quota_key="reports", units=units, idempotency_key=key)
    async with database.transaction(Context.system(shop.workspace_id)) as tx:
        events = "SELECT count(*) FROM datalane.events WHERE workspace_id = $1 AND event_type = 'usage.limit_reached'"
        assert await tx.fetchval(events, shop.workspace_id) == 1


async def test_work_is_reserved_committed_and_released(client: httpx.AsyncClient, shop: Person) -> None:
    of = {"quota_key": "reports", "idempotency_key": "work"}
    assert (await post(client, shop, "/usage/reserve", **of, units=8)).json()["reserved_units"] == 8
    assert (
        await post(client, shop, "/usage/reserve", quota_key="reports", units=3, idempotency_key="2")
    ).status_code == 429
    done = (await post(client, shop, "/usage/commit", **of, units=5)).json()
    assert (done["consumed_units"], done["reserved_units"]) == (5, 0)
    assert (await post(client, shop, "/usage/release", **of)).json() == {"released": False}
    missing = await post(client, shop, "/usage/release", quota_key="reports", idempotency_key="none")
    assert missing.status_code == 404


@pytest.mark.parametrize(
    "said",
    [
        {"units": 0},
        {"units": -1},
        {"units": 1.5},
        {"units": "3"},
        {"units": 10**15 + 1},
        {"units": True},
        {"idempotency_key": ""},
        {"idempotency_key": "x" * 201},
        {"idempotency_key": "nul\0"},
        {"quota_key": "No Such"},
        {"quota_key": "none.such"},
        {"more": 1},
    ],
)
async def test_what_is_no_use_is_refused(client: httpx.AsyncClient, shop: Person, said: dict[str, Any]) -> None:
    answer = await post(
        client, shop, "/usage/consume", **{"quota_key": "reports", "units": 1, "idempotency_key": "1", **said}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


async def test_what_a_page_shows_is_what_is_enforced(client: httpx.AsyncClient, shop: Person) -> None:
    await post(client, shop, "/usage/consume", quota_key="reports", units=7, idempotency_key="1")
    counters = (await client.get("/usage/counters/list", headers=shop.headers)).json()["data"]
    shown = {each["quota_key"]: (each["consumed_units"], each["remaining_units"]) for each in counters}
    assert shown == {"api.requests": (0, 3), "reports": (7, 3), "search": (0, 1), "unbounded": (0, None)}
    may = (await client.get("/access/may", params={"key": "reports", "units": 4}, headers=shop.headers)).json()
    assert (may["allowed"], may["reason"]) == (False, "7 of 10 units of reports are used; 4 more do not fit")
    assert (
        await post(client, shop, "/usage/consume", quota_key="reports", units=4, idempotency_key="2")
    ).status_code == 429
    assert (
        await post(client, shop, "/usage/consume", quota_key="reports", units=3, idempotency_key="3")
    ).status_code == 200


async def test_one_call_answers_for_features_quotas_and_both(
    client: httpx.AsyncClient, shop: Person, database: Database
) -> None:
    async def may(key: str) -> tuple[bool, str]:
        told = (await client.get("/access/may", params={"key": key}, headers=shop.headers)).json()
        return told["allowed"], told["reason"]

    assert await may("reports.export") == (True, "the plan shop includes it")
    assert await may("reports") == (True, "10 of 10 units are left")
    assert await may("unbounded") == (True, "the plan shop sets no limit")
    assert await may("fly") == (False, "the plan shop does not include fly")
    assert await may("search") == (True, "the plan shop includes it")
    await post(client, shop, "/usage/consume", quota_key="search", idempotency_key="1")
    assert await may("search") == (False, "1 of 1 units of search are used")
    async with database.transaction(Context.system(shop.workspace_id)) as tx:
        await override_feature(tx, "search", "disabled", "misuse")
    assert (await may("search"))[0] is False
    listed = (await client.get("/access/entitlements/list", headers=shop.headers)).json()
    assert listed["plan"]["plan_id"] == "shop"
    assert {each["feature_key"]: each["entitlement_status"] for each in listed["data"]} == {
        "reports.export": "enabled",
        "search": "disabled",
    }


async def test_the_ledger_is_read_page_by_page(client: httpx.AsyncClient, shop: Person) -> None:
    for number in range(5):
        await post(client, shop, "/usage/consume", quota_key="reports", idempotency_key=str(number))
    seen, cursor = [], None
    while True:
        asked: dict[str, str | int] = {"quota_key": "reports", "page_size": 2, **({"cursor": cursor} if cursor else {})}
        page = (await client.get("/usage/ledger/list", params=asked, headers=shop.headers)).json()
        seen += [row["idempotency_key"] for row in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == ["4", "3", "2", "1", "0"]
    foreign = await client.get(
        "/usage/ledger/list", params={"quota_key": "search", "cursor": "x"}, headers=shop.headers
    )
    assert foreign.status_code == 422


async def test_viewers_look_and_members_use(
    client: httpx.AsyncClient, shop: Person, bob: Person, sign_up: SignUp, join: Join
) -> None:
    viewer = await join(shop, await sign_up("viewer"), "viewer")
    body = {"quota_key": "reports", "idempotency_key": "1"}
    assert (await client.post("/usage/consume", json=body, headers=viewer)).status_code == 403
    assert (await client.get("/usage/counters/list", headers=viewer)).status_code == 200
    nothing = await client.post("/usage/consume", json=body, headers=bob.headers)
    assert (nothing.status_code, "the workspace has no plan" in nothing.json()["detail"]) == (422, True)
    await client.post("/usage/reserve", json={**body, "units": 2}, headers=shop.headers)
    theirs = await client.post("/usage/release", json=body, headers=bob.headers)
    none = await client.post("/usage/release", json={**body, "idempotency_key": "x"}, headers=bob.headers)
    assert without_correlation(theirs) == without_correlation(none)


async def test_requests_of_a_workspace_are_counted_at_the_door(
    database: Database, lane: OpenLane, shop: Person, bob: Person
) -> None:
    app = create_app(lane, [routes.router], admission=RequestQuota(database, "api.requests"))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://lane") as asking:
        left = []
        for _ in range(3):
            answer = await asking.get("/usage/counters/list", headers=shop.headers)
            assert answer.status_code == 200, answer.text
            assert answer.headers["ratelimit-policy"] == '"api.requests";q=3;w=3600'
            left.append(answer.headers["ratelimit"].partition(";t=")[0])
        assert left == ['"api.requests";r=2', '"api.requests";r=1', '"api.requests";r=0']
        over = await asking.get("/usage/counters/list", headers=shop.headers)
        assert (over.status_code, over.json()["code"]) == (429, "usage_limit_reached")
        assert over.headers["ratelimit"].startswith('"api.requests";r=0;t=')
        assert 0 < int(over.headers["retry-after"]) <= 3_600
        free = await asking.get("/usage/counters/list", headers=bob.headers)  # no plan, no quota
        assert (free.status_code, "ratelimit" in free.headers) == (200, False)
        assert (await asking.get("/openapi.json")).status_code == 200


async def test_middleware_counts_the_requests_of_another_application(database: Database, shop: Person) -> None:
    calls: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        calls.append(scope["path"])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def context_of(scope: Any) -> Context | None:
        mine = Context(shop.workspace_id, shop.user_id, Role.VIEWER)
        return None if scope["path"] == "/public" else mine

    guarded = UsageMiddleware(application, database, "api.requests", context_of)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(guarded), base_url="http://app") as asking:
        answers = [await asking.get("/mine") for _ in range(4)]
        public = await asking.get("/public")
    assert [answer.status_code for answer in answers] == [204, 204, 204, 429]
    assert answers[0].headers["ratelimit-policy"] == '"api.requests";q=3;w=3600'
    assert answers[3].json()["detail"] == "3 of 3 units of api.requests are used"
    assert "retry-after" in answers[3].headers
    assert (public.status_code, "ratelimit" in public.headers) == (204, False)
    assert calls == ["/mine"] * 3 + ["/public"]


async def test_a_metered_function_runs_within_the_limit_and_is_undone_with_its_use(
    database: Database, shop: Person
) -> None:
    made: list[str] = []

    @metered("search")
    async def search(tx: Transaction, word: str) -> str:
        made.append(word)
        if word == "bad":
            raise ValueError
        return word.upper()

    mine = Context(shop.workspace_id, shop.user_id, Role.MEMBER)
    with pytest.raises(ValueError):
        async with database.transaction(mine) as tx:
            await search(tx, "bad")
    async with database.transaction(mine) as tx:
        assert await search(tx, "owl") == "OWL"
    with pytest.raises(UsageLimitReached):
        async with database.transaction(mine) as tx:
            await search(tx, "late")
    assert made == ["bad", "owl"]


async def test_reserved_work_counts_what_it_took_and_nothing_when_it_fails(database: Database, shop: Person) -> None:
    usage, mine = Usage(database), Context(shop.workspace_id, shop.user_id, Role.MEMBER)

    async def left() -> int | None:
        return (await usage.consume(mine, "reports", idempotency_key="probe")).remaining_units

    async with usage.reserved(mine, "reports", 5) as work:
        work.units = 2
    assert await left() == 7
    with pytest.raises(RuntimeError):
        async with usage.reserved(mine, "reports", 5):
            raise RuntimeError
    assert await left() == 7
    with pytest.raises(UsageLimitReached):
        async with usage.reserved(mine, "reports", 8):
            pytest.fail("there was no room")
