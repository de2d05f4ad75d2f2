"""Following the timeline: nothing is skipped and nothing repeated, whatever commits in whatever order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from uuid import UUID

import asyncpg
import pytest
from tests.integration.work.conftest import Desk, open_desk
from tests.integration.work.streaming import PATIENCE, RUNG_ONLY, ids, read_all, take

from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.errors import Conflict, DatabaseUnavailable, InvalidInput
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7
from datalane.work.items import service as items
from datalane.work.items.schemas import Item, NewItem
from datalane.work.timeline.live import Pace, follow, watch
from datalane.work.timeline.schemas import Thing
from datalane.work.timeline.service import NewEntry, Place, add_entries, find_settled

pytestmark = pytest.mark.one_database

QUICK = Pace(poll=0.02, gap=0.005, longest_gap=0.02)
LISTENERS = """
SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN "datalane_changes"%'
"""


@asynccontextmanager
async def writing(desk: Desk, title: str) -> AsyncIterator[UUID]:
    """An item whose transaction is under way for the time of the block, and commits at its end."""
    made: asyncio.Future[UUID] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def write() -> None:
        async with desk.database.transaction(desk.context) as tx:
            made.set_result((await items.create_item(tx, NewItem(title=title))).item_id)
            await over.wait()

    task = asyncio.create_task(write())
    try:
        yield await asyncio.wait_for(made, PATIENCE)
    finally:
        over.set()
        await task


async def look(desk: Desk, place: Place = Place(0)) -> list[UUID]:
    """The things of what is settled after a place."""
    async with desk.database.transaction(desk.context) as tx:
        return [entry.entity_id for entry in (await find_settled(tx, place, None, 1000)).entries]


async def test_what_commits_first_waits_for_what_began_before_it(desk: Desk) -> None:
    async with aclosing(follow(desk.database, desk.context, "beginning", pace=QUICK)) as stream:
        async with writing(desk, "Began first") as earlier:
            later = (await desk.create("Committed first")).item_id
            assert await look(desk) == [], "an entry was told to whose left another one will come"
        assert [entry.entity_id for entry in await take(stream, 2)] == [earlier, later]


async def test_a_long_transaction_of_another_workspace_holds_entries_back_until_it_ends(
    desk: Desk, other_desk: Desk
) -> None:
    async with aclosing(follow(desk.database, desk.context, "beginning", pace=QUICK)) as stream:
        before = await desk.create("Before")
        assert [entry.entity_id for entry in await take(stream, 1)] == [before.item_id]
        async with writing(other_desk, "Slow"):
            made = [(await desk.create(f"Number {number}")).item_id for number in range(3)]
            assert await look(desk) == [before.item_id]
        assert [entry.entity_id for entry in await take(stream, 3)] == made


async def test_a_transaction_that_rolls_back_leaves_no_entry_and_holds_nobody_back(desk: Desk) -> None:
    async with aclosing(follow(desk.database, desk.context, "beginning", pace=RUNG_ONLY)) as stream:
        with suppress(ZeroDivisionError):
            async with desk.database.transaction(desk.context) as tx:
                await items.create_items(tx, [NewItem(title="Never")])
                raise ZeroDivisionError
        made = await desk.create("Ever")
        assert [entry.entity_id for entry in await take(stream, 1)] == [made.item_id]


async def test_it_begins_with_the_oldest_transaction_that_is_under_way(desk: Desk) -> None:
    await desk.create("Long ago")
    async with writing(desk, "Under way") as under_way:
        committed = (await desk.create("Committed but not settled")).item_id
        stream = follow(desk.database, desk.context, pace=QUICK)
        first = asyncio.create_task(anext(stream))
        assert await listeners(desk.database, 1) == 1
    assert (await asyncio.wait_for(first, PATIENCE)).entity_id == under_way
    assert [entry.entity_id for entry in await take(stream, 1)] == [committed]
    await stream.aclose()


async def test_every_position_of_a_history_leads_to_exactly_the_rest(desk: Desk) -> None:
    chance = random.Random(7)
    things = [await desk.create(f"Number {number}") for number in range(4)]
    for number in range(12):
        async with desk.database.transaction(desk.context) as tx:
            rows = [NewItem(title=f"Row {number}.{row}") for row in range(chance.randrange(1, 4))]
            await items.create_items(tx, rows)
        which = chance.randrange(len(things))
        things[which] = await desk.update(things[which], title=f"Renamed {number}")
    whole = await read_all(desk)
    assert len(whole) == len(set(ids(whole)))
    for number, entry in enumerate(whole):
        rest = await read_all(desk, entry.position)
        assert ids(rest[: len(whole) - number - 1]) == ids(whole[number + 1 :])
    places = [(entry.occurred_at, entry.entity_version) for entry in whole if entry.entity_id == things[0].item_id]
    assert places == sorted(places), "the versions of a thing came in another order"


async def test_twenty_writers_and_a_reader_that_comes_and_goes_agree_on_every_entry(desk: Desk, urls: Prepared) -> None:
    chance, writers = random.Random(11), 20

    async def write(number: int) -> None:
        """Transactions of one to three entries, some of which roll back."""
        for turn in range(12):
            with suppress(ZeroDivisionError):
                async with desk.database.transaction(desk.context) as tx:
                    for row in range(chance.randrange(1, 4)):
                        await items.create_items(tx, [NewItem(title=f"Number {number}.{turn}.{row}")])
                    if chance.random() < 0.1:
                        raise ZeroDivisionError

    async def read(seen: list[UUID], visits: list[str]) -> None:
        while not (done.is_set() and len(seen) >= len(await all_in_order(desk))):
            async with aclosing(follow(apart, desk.context, visits[-1], pace=QUICK)) as stream:
                with suppress(TimeoutError):
                    async with asyncio.timeout(chance.random() / 2):
                        for _ in range(chance.randrange(1, 40)):
                            entry = await anext(stream)
                            seen.append(entry.entry_id)
                            visits.append(entry.position)

    done, seen, apart = asyncio.Event(), list[UUID](), await Database.connect(urls.database_url)
    try:
        async with asyncio.timeout(60):
            reading = asyncio.create_task(read(seen, ["beginning"]))
            await asyncio.gather(*(write(number) for number in range(writers)))
            meanwhile = len(seen)
            done.set()
            await reading
    finally:
        await apart.close()
    assert meanwhile > 0, "nothing was read while others wrote"
    assert seen == await all_in_order(desk)


async def all_in_order(desk: Desk) -> list[UUID]:
    return [row[0] for row in await desk.rows("SELECT entry_id FROM datalane.timeline ORDER BY recorded_xid, entry_id")]


async def test_other_workspaces_entries_never_come(desk: Desk, other_desk: Desk) -> None:
    async with aclosing(follow(desk.database, desk.context, "beginning", pace=QUICK)) as stream:
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(other_desk.create(f"Theirs {number}"))
                group.create_task(desk.create(f"Ours {number}"))
        found = await take(stream, 20)
        last = await desk.create("Last")
        assert (await take(stream, 1))[0].entity_id == last.item_id
    theirs = {row[0] for row in await other_desk.rows("SELECT entry_id FROM datalane.timeline")}
    assert len(theirs) == 20
    assert not theirs & set(ids(found))
    with pytest.raises(InvalidInput, match="another workspace"):
        await anext(follow(other_desk.database, other_desk.context, found[0].position))


async def test_one_thing_is_followed_alone(desk: Desk) -> None:
    item, noise = await desk.create("One"), await desk.create("Two")
    thing = Thing("item", item.item_id)
    async with aclosing(follow(desk.database, desk.context, "beginning", thing, RUNG_ONLY)) as stream:
        assert [entry.entity_version for entry in await take(stream, 1)] == [1]
        await desk.update(noise, title="Zwei")
        await desk.update(item, title="Uno")
        (entry,) = await take(stream, 1)
        assert (entry.entity_id, entry.entity_version) == (item.item_id, 2)


async def test_a_notification_after_the_commit_is_enough(desk: Desk) -> None:
    async with aclosing(follow(desk.database, desk.context, "beginning", pace=RUNG_ONLY)) as stream:
        for number in range(10):
            waiting = asyncio.create_task(take(stream, 1))
            made = await desk.create(f"Number {number}")
            assert [entry.entity_id for entry in await waiting] == [made.item_id]


async def test_without_a_notification_it_is_found_by_looking(desk: Desk) -> None:
    """As if the notification of a commit was lost."""
    async with aclosing(follow(desk.database, desk.context, "beginning", pace=QUICK)) as stream:
        await desk.create("Told")
        await take(stream, 1)
        thing = uuid7()
        async with desk.database.transaction(desk.context) as tx:
            await add_entries(tx, [NewEntry("item", thing, 1, "created", "created", [])], utc_now())
            tx._after_commit.clear()
        assert [entry.entity_id for entry in await take(stream, 1)] == [thing]


async def test_the_listening_connection_is_killed_and_comes_back(desk: Desk) -> None:
    async with aclosing(follow(desk.database, desk.context, "beginning", pace=RUNG_ONLY)) as stream:
        for number in range(3):
            waiting = asyncio.create_task(take(stream, 1))
            assert await listeners(desk.database, 1) == 1
            assert await desk.database.pool.fetchval(f"SELECT count(pg_terminate_backend(pid)) FROM ({LISTENERS}) AS l")
            made = await desk.create(f"Number {number}")
            assert [entry.entity_id for entry in await waiting] == [made.item_id]


async def test_it_waits_while_the_database_is_away_and_goes_on(desk: Desk) -> None:
    async with aclosing(follow(desk.database, desk.context, "beginning", pace=QUICK)) as stream:
        await desk.create("Before it")
        await take(stream, 1)
        waiting = asyncio.create_task(take(stream, 1))
        killer = await asyncpg.connect(desk.database.url)
        for _ in range(5):
            everybody = "pid <> pg_backend_pid() AND datname = current_database()"
            await killer.fetchval(f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {everybody}")
        await killer.close()
        made = await create_again(desk, "After it")
        assert [entry.entity_id for entry in await waiting] == [made.item_id]


async def create_again(desk: Desk, title: str) -> Item:
    """As a caller does who is told that the database is away: a connection of the pool may be a dead one."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(DatabaseUnavailable):
                return await desk.create(title)


async def listeners(database: Database, awaited: int) -> int:
    """How many connections listen, when there are as many as `awaited` or patience has ended."""
    found = -1
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while (found := len(await database.pool.fetch(LISTENERS))) != awaited:
                await asyncio.sleep(0)
    return found


async def test_one_connection_listens_for_all_and_none_when_nobody_follows(desk: Desk, other_desk: Desk) -> None:
    streams = [follow(each.database, each.context, "beginning", pace=RUNG_ONLY) for each in (desk, desk, other_desk)]
    waiting = [asyncio.create_task(anext(stream)) for stream in streams]
    assert await listeners(desk.database, 1) == 1
    for each in (desk, other_desk):
        await each.create("One")
    await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE)
    for stream in streams:
        await stream.aclose()
    assert await listeners(desk.database, 0) == 0


async def test_no_connection_is_held_while_waiting(urls: Prepared) -> None:
    database = await Database.connect(urls.database_url, size=1)
    try:
        desk = await open_desk(database, "narrow")
        streams = [follow(database, desk.context, "beginning", pace=RUNG_ONLY) for _ in range(30)]
        waiting = [asyncio.create_task(take(stream, 1)) for stream in streams]
        assert await listeners(database, 1) == 1
        made = await asyncio.wait_for(desk.create("There is room"), PATIENCE)
        assert {entry.entity_id for found in await asyncio.gather(*waiting) for entry in found} == {made.item_id}
        for stream in streams:
            await stream.aclose()
    finally:
        await database.close()


async def test_inside_a_transaction_nothing_is_followed(desk: Desk) -> None:
    async with desk.database.transaction(desk.context):
        with pytest.raises(Conflict, match="outside of transactions"):
            await anext(follow(desk.database, desk.context))


@pytest.mark.parametrize("position", ["", "0", "first", "AgAA" * 20])
async def test_a_made_up_position_is_refused(desk: Desk, position: str) -> None:
    with pytest.raises(InvalidInput, match="position"):
        await anext(follow(desk.database, desk.context, position))


async def test_what_may_no_longer_be_seen_is_asked_before_each_look(desk: Desk) -> None:
    asked = 0

    async def admit() -> object:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise Conflict("no longer")
        return desk.context

    await desk.create("One")
    batches = watch(desk.database, admit, desk.context, Place(0), pace=QUICK)  # type: ignore[arg-type]
    assert len((await anext(batches)).entries) == 1
    await desk.create("Two")
    with pytest.raises(Conflict, match="no longer"):
        await anext(batches)
