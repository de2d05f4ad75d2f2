"""However many transfers race, on connections of their own, a workspace has exactly one owner after each round."""

from __future__ import annotations

import asyncio
import random
from uuid import UUID

import psycopg
import pytest

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.errors import Conflict, DatalaneError
from datalane.identity import memberships, ownership
from datalane.kit.ids import uuid7

RACERS = 64
WORKSPACES = 4


def found(url: str, people: int) -> tuple[list[UUID], list[UUID]]:
    """Workspaces and the people who are in all of them; the first person owns them."""
    workspaces, users = [uuid7() for _ in range(WORKSPACES)], [uuid7() for _ in range(people)]
    with psycopg.connect(url) as connection:
        connection.execute("SET ROLE datalane_definer")
        connection.cursor().executemany(
            "INSERT INTO datalane.users (user_id, email, name, password_hash, created_at) "
            "VALUES (%s, %s, 'Racer', 'none', clock_timestamp())",
            [(user, f"{user}@example.com") for user in users],
        )
        for workspace in workspaces:
            connection.execute(
                "INSERT INTO datalane.workspaces (workspace_id, name, owner_id, created_at) "
                "VALUES (%s, 'Race', %s, clock_timestamp())",
                [workspace, users[0]],
            )
            connection.cursor().executemany(
                "INSERT INTO datalane.memberships (workspace_id, user_id, role, status, created_at, updated_at) "
                "VALUES (%s, %s, %s, 'active', clock_timestamp(), clock_timestamp())",
                [(workspace, user, "owner" if user == users[0] else "admin") for user in users],
            )
    return workspaces, users


def owners(url: str) -> dict[UUID, tuple[UUID, list[UUID]]]:
    """What the tables say: who the workspace names, and who holds the owner's role."""
    with psycopg.connect(url) as connection:
        connection.execute("SET ROLE datalane_definer")
        rows = connection.execute(
            "SELECT w.workspace_id, w.owner_id, array_agg(m.user_id) FROM datalane.workspaces w "
            "JOIN datalane.memberships m ON m.workspace_id = w.workspace_id AND m.role = 'owner' "
            "WHERE m.status = 'active' GROUP BY 1, 2"
        ).fetchall()
    return {workspace: (named, holders) for workspace, named, holders in rows}


async def transfers_on_record(database: Database, workspaces: list[UUID]) -> int:
    count = 0
    for workspace in workspaces:
        async with database.transaction(Context.system(workspace)) as tx:
            records = "SELECT count(*) FROM datalane.audit_log WHERE action = 'ownership.transferred'"
            count += await tx.fetchval(records)
    return count


async def attempt(database: Database, context: Context, target: UUID, transfers: bool) -> bool:
    """Whether the ownership moved. An error that is no `Conflict`, as a deadlock would be, fails the race."""
    try:
        async with database.transaction(context) as tx:
            if transfers:
                await ownership.transfer_ownership(tx, target)
            else:
                await memberships.change_member(tx, target, role="member")
        return transfers
    except Conflict:
        return False


@pytest.mark.parametrize("rounds", [50, pytest.param(200, marks=pytest.mark.soak)])
async def test_racing_transfers_leave_exactly_one_owner(urls: Prepared, rounds: int) -> None:
    workspaces, people = found(urls.maintenance_url, people=9)
    draw = random.Random(rounds)
    database = await Database.connect(urls.database_url, size=RACERS)
    moved = 0
    try:
        for _ in range(rounds):
            before = owners(urls.maintenance_url)
            racers = []
            for number in range(RACERS):
                workspace = workspaces[number % WORKSPACES]
                owner = before[workspace][0]
                # Half of them were the owner when they set out; the others say that they are, or demote somebody.
                actor = owner if number % 8 < WORKSPACES else draw.choice(people)
                target = draw.choice([one for one in people if one != actor])
                context = Context(workspace, actor, Role.OWNER, auth_method="session")
                racers.append(attempt(database, context, target, transfers=number % 16 < 12))
            moved += sum(await asyncio.gather(*racers))
            after = owners(urls.maintenance_url)
            assert set(after) == set(workspaces)
            for workspace, (named, holders) in after.items():
                assert holders == [named], workspace
        assert moved == await transfers_on_record(database, workspaces)
    finally:
        await database.close()
    assert moved >= rounds * WORKSPACES, "whoever comes first as the owner hands over"


async def test_of_two_transfers_by_one_owner_one_is_told_that_it_came_late(urls: Prepared) -> None:
    (workspace, *_), people = found(urls.maintenance_url, people=3)
    database = await Database.connect(urls.database_url, size=2)
    context = Context(workspace, people[0], Role.OWNER, auth_method="session")

    async def outcome(target: UUID) -> str:
        try:
            async with database.transaction(context) as tx:
                await ownership.transfer_ownership(tx, target)
            return "moved"
        except DatalaneError as error:
            return error.code

    try:
        told = await asyncio.gather(*(outcome(target) for target in people[1:]))
    finally:
        await database.close()
    assert sorted(told) == ["conflict", "moved"]
    named, holders = owners(urls.maintenance_url)[workspace]
    assert holders == [named]
    assert named in people[1:]
