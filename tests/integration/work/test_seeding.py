"""`datalane seed work`: the same rows from the same seed, and what finds an item agrees with the item."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.conftest import clone

from datalane.contracts.context import Context
from datalane.contracts.registry import EVENTS
from datalane.db.access import Prepared
from datalane.db.database import Database
from datalane.db.embedded import EmbeddedPostgres
from datalane.engine.registration import register
from datalane.errors import Conflict, InvalidInput
from datalane.lane import Lane
from datalane.settings import SessionSettings
from datalane.work.items.schemas import Item, ItemChanges, ItemUpdate
from datalane.work.items.service import update_items
from datalane.work.seeding.fill import Seeded, seed_work
from datalane.work.seeding.plan import ITEMS_EACH, MOST_ITEMS, MOST_WORKSPACES, Plan, words

SESSIONS = SessionSettings()
SMALL = Plan(items=2_000, workspaces=3, seed=1, slice=700)

CONTENT = """
SELECT i.item_id, i.title, i.description, i.status, i.priority, i.tags, i.metadata, i.version, i.created_at,
       i.updated_at, i.archived_at, i.deleted_at, i.project_id, i.assignee_id IS NULL AS nobody,
       array(SELECT t.action || t.entry_id FROM datalane.timeline t
             WHERE t.workspace_id = i.workspace_id AND t.entity_id = i.item_id ORDER BY t.entity_version) AS told,
       array(SELECT f.field_id || concat(f.text_value, f.number_value, f.date_value) FROM datalane.item_fields f
             WHERE f.workspace_id = i.workspace_id AND f.item_id = i.item_id ORDER BY f.field_id) AS indexed,
       array(SELECT term_id FROM datalane.search_entries e, unnest(e.term_ids) AS term_id
             WHERE e.workspace_id = i.workspace_id AND e.collection = 2 AND e.entry_id = i.item_id
             ORDER BY term_id) AS terms
FROM datalane.items i WHERE i.workspace_id = $1 ORDER BY i.item_id
"""

DISAGREEING = {
    "tags": """
        SELECT tag, item_id FROM datalane.items, unnest(tags) AS tag WHERE {own}
        {minus} SELECT tag, item_id FROM datalane.item_tags WHERE {own}""",
    "team": """
        SELECT item_id, metadata ->> 'team' FROM datalane.items WHERE {own} AND metadata ? 'team'
        {minus} SELECT item_id, text_value FROM datalane.item_fields WHERE {own} AND text_value IS NOT NULL""",
    "cost": """
        SELECT item_id, (metadata ->> 'cost')::float8 FROM datalane.items WHERE {own} AND metadata ? 'cost'
        {minus} SELECT item_id, number_value FROM datalane.item_fields WHERE {own} AND number_value IS NOT NULL""",
    "due": """
        SELECT item_id, (metadata ->> 'due')::timestamp AT TIME ZONE 'UTC' FROM datalane.items
        WHERE {own} AND metadata ? 'due'
        {minus} SELECT item_id, date_value FROM datalane.item_fields WHERE {own} AND date_value IS NOT NULL""",
    "postings": """
        SELECT item_id, hashtextextended(w.lexeme, 0), cardinality(w.positions)::smallint
        FROM datalane.items, unnest(to_tsvector('english', title || E'\\n' || description)) AS w WHERE {own}
        {minus} SELECT entry_id, term_id, tf FROM datalane.search_postings WHERE {own} AND collection = 2""",
    "timeline": """
        SELECT item_id, v FROM datalane.items, generate_series(1, version) AS v WHERE {own}
        {minus} SELECT entity_id, entity_version FROM datalane.timeline WHERE {own} AND entity_type = 'item'""",
}
"""What the items say and what stands beside them, from both sides; `{minus}` is one or the other difference."""


@pytest.fixture
async def elsewhere(cluster: EmbeddedPostgres, template: Prepared) -> AsyncIterator[Database]:
    """A second lane, as empty as the first."""
    with clone(cluster, template) as prepared:
        connected = await Database.connect(prepared.database_url)
        yield connected
        await connected.close()


async def content(database: Database, seeded: Seeded) -> list[tuple[Any, ...]]:
    """All that the seed decides about the items of the large workspace."""
    async with database.transaction(Context.system(seeded.workspace_id)) as tx:
        return [tuple(row) for row in await tx.fetch(CONTENT, seeded.workspace_id)]


async def count(database: Database, seeded: Seeded) -> int:
    async with database.transaction(Context.system(seeded.workspace_id)) as tx:
        return int(await tx.fetchval("SELECT count(*) FROM datalane.items"))


async def test_the_same_seed_makes_the_same_items_whatever_the_slices(database: Database, elsewhere: Database) -> None:
    first = await seed_work(database, SMALL, SESSIONS)
    second = await seed_work(elsewhere, Plan(SMALL.items, 0, SMALL.seed, slice=450), SESSIONS)
    made = await content(database, first)
    assert len(made) == SMALL.items
    assert made == await content(elsewhere, second)


async def test_another_seed_makes_other_items_in_the_same_lane(database: Database) -> None:
    first = await seed_work(database, Plan(50, 1, 1), SESSIONS)
    second = await seed_work(database, Plan(50, 1, 2), SESSIONS)
    titles = [{row[1] for row in await content(database, seeded)} for seeded in (first, second)]
    assert not titles[0] & titles[1]


async def test_what_finds_an_item_agrees_with_the_item(database: Database, urls: Prepared) -> None:
    seeded = await seed_work(database, SMALL, SESSIONS)
    async with database.transaction(Context.system(seeded.workspace_id)) as tx:
        own = f"workspace_id = '{seeded.workspace_id}'"
        for what, sql in DISAGREEING.items():
            there, here = sql.format(own=own, minus="EXCEPT").split("EXCEPT")
            assert await tx.fetchval(f"SELECT count(*) FROM ({here}) AS stored") > 100, what
            assert await tx.fetch(f"{there} EXCEPT {here}") == [], f"missing: {what}"
            assert await tx.fetch(f"{here} EXCEPT {there}") == [], f"too much: {what}"
        totals = await tx.fetchrow(
            "SELECT sum(entries) AS entries, sum(length) AS length FROM datalane.search_totals WHERE collection = 2"
        )
        kept = await tx.fetchrow("SELECT sum(tf) AS length FROM datalane.search_postings WHERE collection = 2")
        lengths = await tx.fetchval("SELECT sum(length) FROM datalane.search_entries WHERE collection = 2")
    assert totals is not None
    assert kept is not None
    assert (totals["entries"], totals["length"]) == (SMALL.items, kept["length"])
    assert lengths == kept["length"]


async def test_the_items_are_of_all_kinds(database: Database) -> None:
    seeded = await seed_work(database, SMALL, SESSIONS)
    async with database.transaction(Context.system(seeded.workspace_id)) as tx:
        row = await tx.fetchrow("""
            SELECT count(DISTINCT status) AS statuses, count(DISTINCT priority) AS priorities,
                   count(DISTINCT project_id) AS projects, count(DISTINCT assignee_id) AS assignees,
                   count(DISTINCT created_by_actor_id) AS makers,
                   count(*) FILTER (WHERE deleted_at IS NOT NULL) AS deleted,
                   count(*) FILTER (WHERE updated_at > created_at) AS changed, max(cardinality(tags)) AS most_tags,
                   min(cardinality(tags)) AS fewest_tags, bool_and(updated_at >= created_at) AS in_order,
                   bool_and((version = 1) = (updated_at = created_at)) AS versions_fit, max(updated_at) < now() AS past
            FROM datalane.items""")
        ids = await tx.fetchrow("""
            SELECT bool_and(app.uuid7_time(item_id) = created_at) AS timed,
                   bool_and(substr(item_id::text, 15, 1) = '7') AS v7
            FROM datalane.items""")
        dfs = await tx.fetchrow("""
            SELECT max(n) AS common, min(n) AS rare FROM (
                SELECT count(*) AS n FROM datalane.search_postings WHERE collection = 2 GROUP BY term_id) AS terms""")
    assert row is not None
    assert tuple(row)[:5] == (3, 5, 50, 6, 6)
    assert 10 < row["deleted"] < 100
    assert row["changed"] > 300
    assert (row["fewest_tags"], row["most_tags"]) == (0, 3)
    assert row["in_order"]
    assert row["versions_fit"]
    assert row["past"]
    assert ids is not None
    assert tuple(ids) == (True, True)
    assert dfs is not None
    assert dfs["rare"] == 1
    assert dfs["common"] > 400


async def test_the_product_reads_and_changes_what_the_seed_made(database: Database) -> None:
    """The seed writes past the services, so they are asked whether it wrote what they would have."""
    await register(database, {}, Lane().handlers.events, list(EVENTS))
    seeded = await seed_work(database, Plan(300, 0), SESSIONS)
    async with database.transaction(Context.system(seeded.workspace_id)) as tx:
        rows = await tx.fetch("SELECT item_id, version FROM datalane.items WHERE deleted_at IS NULL")
        changes = ItemChanges(title="Quite another title", tags=["new"], metadata={"team": "team new", "cost": None})
        outcomes = await update_items(
            tx, [ItemUpdate(item_id=row["item_id"], version=row["version"], changes=changes) for row in rows]
        )
        assert len(rows) > 280
        assert all(isinstance(outcome, Item) for outcome in outcomes)
        left = await tx.fetchrow("""
            SELECT (SELECT count(*) FROM datalane.item_tags t WHERE t.tag <> 'new') AS tags,
                   (SELECT sum(cardinality(tags)) FROM datalane.items WHERE deleted_at IS NOT NULL) AS deleted_tags,
                   (SELECT count(*) FROM datalane.search_postings p JOIN datalane.items i ON i.item_id = p.entry_id
                    WHERE i.deleted_at IS NULL) AS postings,
                   (SELECT sum(entries) FROM datalane.search_totals) AS entries""")
    assert left is not None
    assert left["tags"] == (left["deleted_tags"] or 0)
    assert left["postings"] == 3 * len(rows), "quite, anoth, titl"
    assert left["entries"] == 300


async def test_the_small_workspaces_have_their_items_and_see_no_others(database: Database, urls: Prepared) -> None:
    await seed_work(database, SMALL, SESSIONS)
    async with database.sign_in_door() as tx:
        owner = await tx.fetchrow("SELECT user_id FROM datalane.find_login($1)", SMALL.email("neighbour"))
        assert owner is not None
        homes = await tx.fetch("SELECT workspace_id, name FROM datalane.my_workspaces($1)", owner["user_id"])
    seeded = [row["workspace_id"] for row in homes if row["name"].startswith("Seeded neighbour")]
    assert len(seeded) == SMALL.workspaces
    for home in seeded:
        async with database.transaction(Context.system(home)) as tx:
            assert await tx.fetchval("SELECT count(*) FROM datalane.items") == ITEMS_EACH
            assert await tx.fetchval("SELECT sum(entries) FROM datalane.search_totals") == ITEMS_EACH


async def test_a_seed_that_is_whole_is_refused_and_changes_nothing(database: Database) -> None:
    seeded = await seed_work(database, SMALL, SESSIONS)
    before = await content(database, seeded)
    with pytest.raises(Conflict, match="in this lane already"):
        await seed_work(database, SMALL, SESSIONS)
    assert await content(database, seeded) == before


async def test_the_same_seed_with_other_numbers_is_refused(database: Database) -> None:
    seeded = await seed_work(database, Plan(50, 1, 1), SESSIONS)
    with pytest.raises(Conflict, match=r"another seed 1 already.*50 items beside 1 workspaces"):
        await seed_work(database, Plan(60, 1, 1), SESSIONS)
    assert await count(database, seeded) == 50


async def test_an_interrupt_leaves_whole_slices_and_the_same_command_goes_on(
    database: Database, elsewhere: Database
) -> None:
    plan = Plan(2_000, 3, 1, slice=100)
    seeding: asyncio.Task[Seeded]

    def stop(done: int, total: int) -> None:
        if done >= 500:
            seeding.cancel()

    seeding = asyncio.create_task(seed_work(database, plan, SESSIONS, stop))
    with pytest.raises(asyncio.CancelledError):
        await seeding
    done: list[tuple[int, int]] = []
    seeded = await seed_work(database, plan, SESSIONS, lambda *told: done.append(told))
    assert 0 < seeded.added < plan.total
    assert seeded.added % 20 == 0
    assert done[-1] == (plan.total, plan.total)
    assert seeded.password is None
    whole = await seed_work(elsewhere, plan, SESSIONS)
    assert await content(database, seeded) == await content(elsewhere, whole)
    async with database.transaction(Context.system(seeded.workspace_id)) as tx:
        assert await tx.fetchval("SELECT sum(entries) FROM datalane.search_totals") == plan.items


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"items": 0}, "--items takes 1 to 10,000,000, not 0"),
        ({"items": -5}, "--items takes"),
        ({"items": MOST_ITEMS + 1}, "--items takes"),
        ({"workspaces": -1}, "--workspaces takes 0 to 10,000"),
        ({"workspaces": MOST_WORKSPACES + 1}, "--workspaces takes"),
        ({"seed": -1}, "--seed takes"),
        ({"seed": 2**31}, "--seed takes"),
    ],
)
def test_foolish_numbers_are_refused(numbers: dict[str, int], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        Plan(**numbers)


def test_the_words_are_all_different_and_of_one_length() -> None:
    each = words().decode().split(" ")[:-1]
    assert {len(word) for word in each} == {6}
    assert len(set(each)) == len(each)
