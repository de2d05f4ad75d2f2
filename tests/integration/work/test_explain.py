"""What `datalane explain` finds on a small seeded workspace."""

from __future__ import annotations

import pytest

from datalane.contracts.context import Context
from datalane.db.access import Prepared
from datalane.db.database import Database
from datalane.db.roles import Roles
from datalane.db.vacuum import vacuum_tables
from datalane.errors import NotFound
from datalane.kit.ids import uuid7
from datalane.settings import SessionSettings
from datalane.work.explain import Explanation, Index, explain_shapes
from datalane.work.fields.definitions import load_fields
from datalane.work.query.shapes import SORTS
from datalane.work.samples import of_item, read_items, typical
from datalane.work.seeding.fill import TABLES, seed_work
from datalane.work.seeding.plan import Plan


async def explained(database: Database, urls: Prepared, items: int = 3_000) -> Explanation:
    seeded = await seed_work(database, Plan(items, 0), SessionSettings())
    await vacuum_tables(urls.maintenance_url, Roles(), TABLES)
    return await explain_shapes(database, seeded.workspace_id, runs=2)


def index(found: Explanation, name: str) -> Index:
    return next(each for each in found.indexes if each.name == name)


async def test_each_shape_has_its_plan_its_index_and_its_time(database: Database, urls: Prepared) -> None:
    found = await explained(database, urls)
    by_name = {each.shape: each for each in found.shapes}
    assert found.items == 3_000
    assert {f"sort {sort}" for sort in SORTS} <= set(by_name)
    assert {"status", "common tag", "word", "text field", "number field at least", "date field"} <= set(by_name)
    for each in found.shapes:
        assert 0 < each.p50 <= each.p95
        assert each.plan
        assert each.blocks > 0
    assert by_name["sort -updated_at"].rows == 26
    assert "search_postings_pkey" in by_name["word"].indexes
    assert "index scan items_by_update" in by_name["sort -updated_at"].plan


async def test_an_index_that_nothing_reads_is_told_with_its_size_and_a_key_is_not(
    database: Database, urls: Prepared
) -> None:
    found = await explained(database, urls)
    assert index(found, "items_by_update").shapes
    assert index(found, "items_by_update") not in found.without_shape
    unread = index(found, "projects_by_update")
    assert unread in found.never_scanned
    assert unread.size > 0
    assert unread not in found.without_shape, "no shape reads its table at all"
    assert not {each.kind for each in found.without_shape + found.never_scanned} - {"index"}
    assert index(found, "items_pkey").kind == "primary key"
    assert index(found, "one_entry_per_version").kind == "unique"


async def test_a_workspace_without_items_has_nothing_to_explain(database: Database) -> None:
    with pytest.raises(NotFound, match="has no items"):
        await explain_shapes(database, uuid7())


async def test_samples_are_values_that_the_items_have(database: Database) -> None:
    seeded = await seed_work(database, Plan(2_000, 0), SessionSettings())
    async with database.transaction(Context.system(seeded.workspace_id)) as tx:
        fields, rows = await load_fields(tx), await read_items(tx, 50)
        assert 45 <= len(rows) <= 50
        samples = typical(rows, fields)
        counts = [
            await tx.fetchval("SELECT count(*) FROM datalane.items WHERE tags @> ARRAY[$1]", tag)
            for tag in samples.tags
        ]
        assert counts[0] > counts[-1] > 0
        assert await tx.fetchval("SELECT count(*) FROM datalane.items WHERE project_id = $1", samples.project_id) > 50
    assert set(samples.fields) == {"text", "number", "date"}
    others = [of_item(number, rows, fields) for number in range(20)]
    assert len({other.words for other in others}) > 15
    assert all(len(other.tags) == 3 for other in others)


async def test_one_item_without_anything_is_enough(database: Database) -> None:
    home, somebody = uuid7(), uuid7()
    async with database.transaction(Context.system(home)) as tx:
        await tx.execute(
            """INSERT INTO datalane.items (workspace_id, item_id, title, status, created_at, updated_at,
                   created_by_actor_id, updated_by_actor_id)
               VALUES ($1, $2, 'Alone', 'draft', now(), now(), $3, $3)""",
            home,
            uuid7(),
            somebody,
        )
    found = await explain_shapes(database, home, runs=1)
    rows = {each.shape: each.rows for each in found.shapes}
    assert rows["sort -updated_at"] == 1
    assert not [name for name in rows if "field" in name]
