"""Telling members: who is told, by what, once, and in the transaction of what it is about."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from tests.integration.api.conftest import Join, Person, SignUp, without_correlation
from tests.integration.engine.lab import Undone, eventually, undo
from tests.integration.integrations.telling import (
    BROKEN,
    acting,
    deliveries,
    delivering,
    rows,
    settled,
    tell,
    wish,
)

from datalane.contracts.context import Role
from datalane.db.access import Prepared
from datalane.db.database import Database
from datalane.engine.actions import ActionCall, Actions
from datalane.engine.maintenance import run_once
from datalane.errors import Forbidden, InvalidInput
from datalane.integrations.notifications.actions import NOTIFY_ACTION
from datalane.integrations.notifications.delivering import move
from datalane.integrations.notifications.notices import Notice, notify
from datalane.integrations.notifications.preferences import set_defaults, update_preferences
from datalane.kit.clock import utc_now
from datalane.settings import Limits, Retention

LISTED, READ = "/notifications/list", "/notifications/read"
JOBS = "SELECT kind, args FROM datalane.jobs WHERE kind LIKE 'notification.%' ORDER BY id"


async def told(client: httpx.AsyncClient, headers: dict[str, str], **asked: Any) -> list[str]:
    answer = await client.get(LISTED, params=asked, headers=headers)
    assert answer.status_code == 200, answer.text
    return [one["title"] for one in answer.json()["data"]]


async def test_everybody_of_a_role_and_everybody_named_is_told_once(
    client: httpx.AsyncClient, database: Database, ada: Person, sign_up: SignUp, join: Join
) -> None:
    bob, eve, joe = [await sign_up(name) for name in ("bob", "eve", "joe")]
    admin, member, viewer = [
        await join(ada, person, role) for person, role in ((bob, "admin"), (eve, "member"), (joe, "viewer"))
    ]
    sent = await tell(database, ada, roles=[Role.OWNER, Role.ADMIN], user_ids=[joe.user_id, bob.user_id])
    assert set(sent.notification_ids) == {ada.user_id, bob.user_id, joe.user_id}
    for headers in (ada.headers, admin, viewer):
        assert await told(client, headers) == [BROKEN.title]
    assert await told(client, member) == []


async def test_who_is_no_active_member_is_told_nothing(
    client: httpx.AsyncClient, database: Database, ada: Person, bob: Person, sign_up: SignUp, join: Join
) -> None:
    eve = await sign_up("eve")
    await join(ada, eve, "admin")
    suspended = {"user_id": str(eve.user_id), "status": "suspended"}
    await client.post("/workspaces/members/change", json=suspended, headers=ada.headers)
    sent = await tell(database, ada, roles=[Role.ADMIN], user_ids=[bob.user_id, eve.user_id, uuid4()])
    assert sent.notification_ids == {}
    assert await rows(database, ada, JOBS) == []
    assert await told(client, bob.headers) == []


async def test_nothing_is_told_when_what_it_is_about_did_not_happen(
    client: httpx.AsyncClient, database: Database, ada: Person
) -> None:
    with pytest.raises(Undone):
        await undo(database, acting(ada), lambda tx: notify(tx, BROKEN, roles=[Role.OWNER]))
    assert await told(client, ada.headers) == []
    assert await deliveries(database, ada) == []
    assert await rows(database, ada, JOBS) == []


async def test_each_channel_that_leads_out_has_a_delivery_and_a_job(database: Database, ada: Person) -> None:
    async with database.transaction(acting(ada)) as tx:
        await update_preferences(tx, wish("integrations", "webhook", True))
    sent = await tell(database, ada, roles=[Role.OWNER])
    args = {"notification_ids": [str(sent.notification_ids[ada.user_id])]}
    assert [tuple(row) for row in await rows(database, ada, JOBS)] == [
        ("notification.email", args),
        ("notification.webhook", args),
    ]
    assert await deliveries(database, ada) == [("pending", None), ("pending", None)]


async def test_what_nobody_wants_leaves_nothing(client: httpx.AsyncClient, database: Database, ada: Person) -> None:
    async with database.transaction(acting(ada)) as tx:
        await update_preferences(tx, wish("automation", "in_app", False))
    sent = await tell(database, ada, Notice("automation", "Hello"), roles=[Role.OWNER])
    assert sent.notification_ids == {}
    assert await told(client, ada.headers) == []


async def test_what_is_wanted_by_email_alone_is_in_no_list_and_can_be_looked_up(
    client: httpx.AsyncClient, database: Database, ada: Person
) -> None:
    async with database.transaction(acting(ada)) as tx:
        await set_defaults(tx, wish("integrations", "in_app", False))
    sent = await tell(database, ada, roles=[Role.OWNER])
    assert await told(client, ada.headers) == []
    one = await client.get(f"/notifications/{sent.notification_ids[ada.user_id]}", headers=ada.headers)
    assert (one.status_code, one.json()["title"]) == (200, BROKEN.title)


async def test_of_one_key_everybody_is_told_once_also_by_two_at_a_time(
    client: httpx.AsyncClient, database: Database, ada: Person, sign_up: SignUp, join: Join
) -> None:
    bob = await sign_up("bob")
    admin = await join(ada, bob, "admin")
    once = replace(BROKEN, dedupe_key="connector 7")
    await asyncio.gather(*(tell(database, ada, once, roles=[Role.OWNER]) for _ in range(6)))
    late = await tell(database, ada, once, roles=[Role.OWNER, Role.ADMIN])
    assert set(late.notification_ids) == {bob.user_id}
    await tell(database, ada, replace(BROKEN, dedupe_key="connector 8"), roles=[Role.OWNER])
    assert len(await told(client, ada.headers)) == 2
    assert len(await told(client, admin)) == 1


async def test_the_same_key_of_another_workspace_is_another_one(
    client: httpx.AsyncClient, database: Database, ada: Person, bob: Person
) -> None:
    once = replace(BROKEN, dedupe_key="connector 7")
    for person in (ada, bob):
        await tell(database, person, once, roles=[Role.OWNER])
        assert len(await told(client, person.headers)) == 1


async def test_text_is_kept_as_text_that_people_can_read(
    client: httpx.AsyncClient, database: Database, ada: Person
) -> None:
    title = "Bcc: eve@example.com\r\nX: \x00\x1b[31mred\u2028 \u202etxt.exe\u2069 " + "é" * 10_000
    text = "one\r\ntwo\x00\x07\u202e three\t" + "x" * 20_000
    await tell(database, ada, Notice("security", title, text), roles=[Role.OWNER])
    [one] = (await client.get(LISTED, headers=ada.headers)).json()["data"]
    assert one["title"].startswith("Bcc: eve@example.com X: [31mred txt.exe ééé")
    assert (len(one["title"]), one["title"][-1]) == (500, "…")
    assert one["text"].startswith("one\ntwo three\txxx")
    assert len(one["text"]) == 10_000


@pytest.mark.parametrize(
    ("notice", "says"),
    [
        (Notice("gossip", "Hello"), "no category"),
        (Notice("jobs", "\r\n\u202e"), "title"),
        (Notice("jobs", "Hello", link="javascript:alert(1)"), "link"),
        (Notice("jobs", "Hello", link="https://example.com/\r\nBcc: eve"), "link"),
        (Notice("jobs", "Hello", link="//example.com/path"), "link"),
        (Notice("jobs", "Hello", link="/\\example.com"), "link"),
        (Notice("jobs", "Hello", link="/\u202egpj.exe"), "link"),
        (Notice("jobs", "Hello", link="/" + "x" * 2_000), "link"),
    ],
)
async def test_what_is_no_notice_is_refused(database: Database, ada: Person, notice: Notice, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        await tell(database, ada, notice, roles=[Role.OWNER])


async def test_a_viewer_tells_nobody_anything(database: Database, ada: Person) -> None:
    async with database.transaction(acting(ada, Role.VIEWER)) as tx:
        with pytest.raises(Forbidden, match=r"notification\.send"):
            await notify(tx, BROKEN, roles=[Role.OWNER])


async def test_notifications_are_read_one_by_one_or_up_to_one(
    client: httpx.AsyncClient, database: Database, ada: Person
) -> None:
    titles = [f"number {number}" for number in range(5)]
    ids = [
        str((await tell(database, ada, Notice("jobs", title), roles=[Role.OWNER])).notification_ids[ada.user_id])
        for title in titles
    ]
    first = await client.post(READ, json={"notification_ids": [ids[4], ids[4]]}, headers=ada.headers)
    assert first.json() == {"marked": 1, "unread_count": 4}
    again = await client.post(READ, json={"notification_ids": [ids[4]]}, headers=ada.headers)
    assert again.json() == {"marked": 0, "unread_count": 4}
    upto = await client.post(READ, json={"up_to": ids[2]}, headers=ada.headers)
    assert upto.json() == {"marked": 3, "unread_count": 1}
    assert await told(client, ada.headers, unread=True) == ["number 3"]
    assert len(await told(client, ada.headers)) == 5


async def test_lists_come_in_pages_the_newest_first(client: httpx.AsyncClient, database: Database, ada: Person) -> None:
    for number in range(5):
        await tell(database, ada, Notice("jobs", f"number {number}"), roles=[Role.OWNER])
    for path in (LISTED, "/notifications/deliveries/list"):
        seen: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            answer = await client.get(path, params={"page_size": 2, **cursor}, headers=ada.headers)
            page = answer.json()
            seen += [one["notification_id"] for one in page["data"]]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert len(seen) == 5
        assert seen == sorted(seen, reverse=True)


async def test_what_another_is_told_is_not_found_by_a_colleague_or_an_owner(
    client: httpx.AsyncClient, database: Database, ada: Person, sign_up: SignUp, join: Join
) -> None:
    bob = await sign_up("bob")
    member = await join(ada, bob, "member")
    mine = await tell(database, ada, user_ids=[ada.user_id])
    his = await tell(database, ada, user_ids=[bob.user_id])
    foreign, own = his.notification_ids[bob.user_id], mine.notification_ids[ada.user_id]
    nobodys = await client.get(f"/notifications/{uuid4()}", headers=ada.headers)
    found = await client.get(f"/notifications/{foreign}", headers=ada.headers)
    assert without_correlation(found) == without_correlation(nobodys)
    for body in ({"notification_ids": [str(own), str(foreign)]}, {"up_to": str(foreign)}):
        assert (await client.post(READ, json=body, headers=ada.headers)).status_code == 404
    assert (await client.get(LISTED, headers=ada.headers)).json()["unread_count"] == 1
    assert (await client.get("/notifications/deliveries/list", headers=member)).status_code == 403


async def test_the_log_of_deliveries_tells_an_admin_of_whom_and_not_of_what(
    client: httpx.AsyncClient, database: Database, ada: Person
) -> None:
    await tell(database, ada, roles=[Role.OWNER])
    answer = await client.get(
        "/notifications/deliveries/list", params={"status": "pending", "channel": "email"}, headers=ada.headers
    )
    [one] = answer.json()["data"]
    assert (one["user_id"], one["category"], one["status"]) == (str(ada.user_id), "integrations", "pending")
    assert BROKEN.title not in answer.text
    assert "@" not in answer.text
    none = await client.get("/notifications/deliveries/list", params={"status": "sent"}, headers=ada.headers)
    assert none.json()["data"] == []


# By webhook -------------------------------------------------------------------------------------------------------

CREATED = "SELECT payload, causation_depth FROM datalane.events WHERE event_type = 'notification.created'"


async def test_a_notice_is_one_event_for_all_who_want_it_by_webhook(
    database: Database, ada: Person, sign_up: SignUp, join: Join
) -> None:
    bob, eve = await sign_up("bob"), await sign_up("eve")
    for person in (bob, eve):
        await join(ada, person, "admin")
    for person in (ada, bob, eve):
        async with database.transaction(acting(person, workspace_id=ada.workspace_id)) as tx:
            await update_preferences(tx, wish("integrations", "webhook", True))
            await update_preferences(tx, wish("integrations", "email", False))
    sent = await tell(database, ada, roles=[Role.OWNER, Role.ADMIN])
    async with database.transaction(acting(eve, workspace_id=ada.workspace_id)) as tx:
        await update_preferences(tx, wish("integrations", "webhook", False))
    async with delivering(database):
        found = await settled(database, ada, 3)
    assert sorted(found, key=str) == [("sent", None), ("sent", None), ("skipped", "preference")]
    [event] = await rows(database, ada, CREATED)
    ids = sorted(str(sent.notification_ids[person.user_id]) for person in (ada, bob))
    assert sorted(event["payload"].pop("notification_ids")) == ids
    assert event["payload"] == {"category": "integrations", "title": BROKEN.title}


async def test_a_notice_that_nobody_wants_by_webhook_is_no_event(database: Database, ada: Person) -> None:
    async with database.transaction(acting(ada)) as tx:
        await update_preferences(tx, wish("integrations", "webhook", True))
        await update_preferences(tx, wish("integrations", "email", False))
    await tell(database, ada, roles=[Role.OWNER])
    async with database.transaction(acting(ada)) as tx:
        await set_defaults(tx, wish("integrations", "webhook", True))
        await update_preferences(tx, wish("integrations", "webhook", False))
    async with delivering(database):
        assert await settled(database, ada) == [("skipped", "preference")]
    assert await rows(database, ada, CREATED) == []


async def test_notices_that_cause_one_another_come_to_an_end(database: Database, ada: Person) -> None:
    async with database.transaction(acting(ada)) as tx:
        await update_preferences(tx, wish("automation", "webhook", True))
    async with delivering(database, echoing=True):
        await tell(database, ada, Notice("automation", "And so on"), roles=[Role.OWNER])

        async def refused() -> list[Any]:
            return await rows(database, ada, "SELECT last_error_class FROM datalane.jobs WHERE status = 'failed'")

        assert [row[0] for row in await eventually(refused)] == ["limit_exceeded"]
    depths = [row["causation_depth"] for row in await rows(database, ada, CREATED)]
    assert sorted(depths) == list(range(0, Limits().causation_depth + 1, 2))  # the job of each step is one too


async def test_a_stale_writer_moves_no_delivery(database: Database, ada: Person) -> None:
    sent = await tell(database, ada, roles=[Role.OWNER])
    ids = list(sent.notification_ids.values())
    async with database.transaction(acting(ada)) as tx:
        assert await move(tx, ids, "email", "sent") == ids
        assert await move(tx, ids, "email", "failed") == []
        assert await move(tx, ids, "email", "pending") == []
        assert await move(tx, ids, "webhook", "sent") == []
    assert await deliveries(database, ada) == [("sent", None)]


async def test_an_admin_neither_reads_nor_moves_what_is_to_be_sent(database: Database, ada: Person) -> None:
    sent = await tell(database, ada, roles=[Role.OWNER])
    for statement in (
        "SELECT * FROM datalane.read_notification_deliveries($1, 'email')",
        "SELECT datalane.move_notification_deliveries($1, 'email', 'skipped', 'none of your business')",
    ):
        with pytest.raises(Forbidden):
            async with database.transaction(acting(ada, Role.ADMIN)) as tx:
                await tx.fetch(statement, list(sent.notification_ids.values()))
    assert await deliveries(database, ada) == [("pending", None)]


async def test_what_is_old_goes_by_whole_months(database: Database, urls: Prepared, ada: Person) -> None:
    await tell(database, ada, roles=[Role.OWNER])
    connection = await asyncpg.connect(urls.maintenance_url)
    for days, left in ((89, 1), (125, 0)):
        await run_once(connection, utc_now() + timedelta(days=days), Retention(), Limits())
        assert len(await rows(database, ada, "SELECT FROM datalane.notifications")) == left
        assert len(await deliveries(database, ada)) == left
    await connection.close()


# By rules ---------------------------------------------------------------------------------------------------------


async def test_a_rule_tells_each_once_however_often_its_action_is_tried(
    client: httpx.AsyncClient, database: Database, ada: Person
) -> None:
    actions = Actions()
    actions.add(NOTIFY_ACTION)
    said = {"title": "An invoice is late", "to": ["owner", str(ada.user_id)]}
    arguments = actions.read("notify", said)
    call = ActionCall(uuid4(), 0, uuid4())
    outcomes = []
    for _ in range(2):
        async with database.transaction(acting(ada)) as tx:
            outcomes.append(await actions.get("notify").run(tx, arguments, call))
    assert outcomes == [{"notified": 1}, {"notified": 0}]
    assert await told(client, ada.headers) == ["An invoice is late"]


@pytest.mark.parametrize(
    "said",
    [
        {"title": "x", "to": []},
        {"title": "", "to": ["owner"]},
        {"title": "x", "to": ["everybody"]},
        {"title": "x", "to": ["owner"], "category": "security"},
        {"title": "x", "to": ["owner"], "link": "https://example.com"},
    ],
)
def test_arguments_of_a_rule_that_are_wrong_are_named(said: dict[str, Any]) -> None:
    actions = Actions()
    actions.add(NOTIFY_ACTION)
    with pytest.raises(InvalidInput) as refused:
        actions.read("notify", said)
    assert refused.value.errors
