"""Limits on attempts: what they allow, what they refuse, and whom they must not keep out. Time is given."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import psycopg
import pytest

from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.engine.maintenance import run_once
from datalane.errors import RateLimited
from datalane.identity.attempts import TRUST, AttemptGuard, network_of
from datalane.settings import AttemptSettings, Limits, Rate, Retention

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
ADA, HOME, OFFICE = "ada@example.com", "192.0.2.1", "192.0.2.2"
TIGHT = AttemptSettings(
    sign_in=Rate(3, timedelta(minutes=1)),
    sign_in_address=Rate(5, timedelta(seconds=10)),
    client=Rate(8, timedelta(seconds=2)),
)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


class Door:
    """Somebody who tries to sign in at a moment, and is let through to the password or told when to come again."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def guard(self, client: str, at: float = 0) -> AttemptGuard:
        return AttemptGuard(self.database, TIGHT, client, after(at))

    async def wait(self, email: str, client: str, at: float = 0) -> float | None:
        """The seconds to wait, None when the attempt may go on."""
        try:
            await self.guard(client, at).admit_sign_in(email)
        except RateLimited as refused:
            return refused.retry_after
        return None

    async def waits(self, count: int, email: str, client: str, at: float = 0) -> list[float | None]:
        return [await self.wait(email, client, at) for _ in range(count)]


@pytest.fixture
def door(database: Database) -> Door:
    return Door(database)


def rows(urls: Prepared) -> int:
    with psycopg.connect(urls.maintenance_url) as connection:
        connection.execute("SET ROLE datalane_definer")
        found = connection.execute("SELECT count(*) FROM datalane.attempt_buckets").fetchone()
    assert found is not None
    return int(found[0])


async def test_a_burst_is_allowed_and_then_one_after_each_pause(door: Door) -> None:
    assert await door.waits(5, ADA, HOME) == [None, None, None, 60, 60]
    assert await door.wait(ADA, HOME, 59) == 1
    assert await door.waits(2, ADA, HOME, 60) == [None, 60]
    assert await door.waits(4, ADA, HOME, 60 + 180) == [None, None, None, 60]


async def test_racing_attempts_on_several_processes_get_the_burst_and_no_more(urls: Prepared) -> None:
    processes = [await Database.connect(urls.database_url, size=4) for _ in range(3)]
    try:
        answers = await asyncio.gather(*(Door(each).wait(ADA, HOME) for each in processes for _ in range(8)))
    finally:
        for each in processes:
            await each.close()
    assert answers.count(None) == 3
    assert set(answers) == {None, 60}


async def test_one_client_cannot_try_many_addresses(door: Door) -> None:
    sprayed = [await door.wait(f"{number}@example.com", HOME) for number in range(10)]
    assert sprayed == [None] * 8 + [2, 2]
    assert await door.wait("0@example.com", OFFICE) is None


async def test_guessing_one_address_from_many_clients_slows_down(door: Door) -> None:
    guessed = [await door.wait(ADA, f"198.51.100.{number}") for number in range(7)]
    assert guessed == [None] * 5 + [10, 10]
    assert await door.wait(ADA, "198.51.100.99", 10) is None, "the wait is short, and never grows"


async def test_whoever_signed_in_before_is_not_kept_out_by_guessing_from_elsewhere(door: Door) -> None:
    await door.guard(HOME).trust(ADA)
    for number in range(6):
        await door.wait(ADA, f"198.51.100.{number}")
    assert await door.wait(ADA, OFFICE) == 10
    assert await door.waits(4, ADA, HOME) == [None, None, None, 60], "its own limit holds for it all the same"
    assert await door.wait("bob@example.com", HOME) is None


async def test_a_trusted_client_does_not_use_up_what_others_have(door: Door) -> None:
    await door.guard(HOME).trust(ADA)
    await door.waits(3, ADA, HOME)
    assert [await door.wait(ADA, f"198.51.100.{number}") for number in range(6)] == [None] * 5 + [10]


async def test_trust_ends(door: Door) -> None:
    await door.guard(HOME).trust(ADA)
    later = TRUST.total_seconds()
    for number in range(5):
        await door.wait(ADA, f"198.51.100.{number}", later)
    assert await door.wait(ADA, HOME, later - 1) is None
    assert await door.wait(ADA, HOME, later) == 10


async def test_the_right_password_makes_the_clients_own_limit_full_again(door: Door) -> None:
    await door.waits(3, ADA, HOME)
    await door.guard(HOME).trust(ADA)
    assert await door.waits(4, ADA, HOME) == [None, None, None, 60]


async def test_signing_up_and_refreshing_have_limits_of_their_own(database: Database) -> None:
    tight = AttemptSettings(sign_up=Rate(1, timedelta(hours=1)), refresh=Rate(2, timedelta(minutes=1)))
    guard = AttemptGuard(database, tight, HOME, NOON)
    await guard.admit_sign_up()
    with pytest.raises(RateLimited) as signing_up:
        await guard.admit_sign_up()
    for _ in range(2):
        await guard.admit_refresh()
    with pytest.raises(RateLimited) as refreshing:
        await guard.admit_refresh()
    assert (signing_up.value.retry_after, refreshing.value.retry_after) == (3600, 60)
    await AttemptGuard(database, tight, OFFICE, NOON).admit_sign_up()


async def test_what_is_refused_leaves_no_row_behind(door: Door, urls: Prepared) -> None:
    await door.waits(8, ADA, HOME)
    before = rows(urls)
    for number in range(40):
        await door.wait(f"{number}@example.com", HOME)
    assert rows(urls) <= before + 2 * TIGHT.client.burst


async def test_full_buckets_are_swept_and_trusted_ones_kept(door: Door, urls: Prepared) -> None:
    await door.waits(2, ADA, HOME)
    await door.guard(OFFICE).trust(ADA)
    assert rows(urls) == 4
    connection = await asyncpg.connect(urls.maintenance_url)
    try:
        gone = [
            (await run_once(connection, moment, Retention(), Limits())).attempts_forgotten
            for moment in (after(1), after(120), NOON + TRUST)
        ]
    finally:
        await connection.close()
    assert gone == [0, 3, 1]
    assert rows(urls) == 0


@pytest.mark.parametrize(
    ("client", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("testclient", "testclient"),
        (None, "unknown"),
    ],
)
def test_a_client_is_its_network(client: str | None, network: str) -> None:
    assert network_of(client) == network
