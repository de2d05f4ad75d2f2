"""Behind the wall, the shapes of lists reach indexes, with plans for the workspace that asks."""

from __future__ import annotations

from urllib.parse import urlsplit
from uuid import UUID

import psycopg
import pytest
from tests.integration.work.board import DAY, Board, lay, people

from datalane.contracts.plans import Plans
from datalane.db.database import Database
from datalane.db.embedded import EmbeddedPostgres
from datalane.db.provision import Prepared
from datalane.kit.ids import uuid7
from datalane.work.query.compose import compose
from datalane.work.query.shapes import Samples, Shape, shapes

WORKSPACES, ITEMS = 12, 400

_ITEMS = """
INSERT INTO datalane.items (workspace_id, item_id, project_id, title, status, priority, assignee_id, created_at,
    updated_at, deleted_at, archived_at, created_by_actor_id, updated_by_actor_id)
SELECT $1, ('01990000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, ($2::uuid[])[1 + n % 3], 'heron ' || n,
    (ARRAY['draft', 'active', 'archived'])[1 + n / 7 % 3], n % 5, ($3::uuid[])[1 + n % 4],
    $4::timestamptz + n * interval '1 hour', $4::timestamptz + n * 7 % 400 * interval '1 hour',
    CASE WHEN n % 20 = 0 THEN $4::timestamptz END, CASE WHEN n / 7 % 3 = 2 THEN $4::timestamptz END,
    ($3::uuid[])[1 + n % 3], ($3::uuid[])[1]
FROM generate_series(1, $5) AS n"""
_TAGS = """
INSERT INTO datalane.item_tags (workspace_id, tag, item_id)
SELECT workspace_id, tag, item_id FROM datalane.items i
CROSS JOIN LATERAL (VALUES ('common'), ('tag ' || priority), ('tag ' || title)) AS t (tag)
WHERE i.workspace_id = $1"""
_FIELDS = """
INSERT INTO datalane.item_fields (workspace_id, field_id, item_id, text_value, number_value, date_value)
SELECT i.workspace_id, d.field_id, i.item_id,
    CASE d.type WHEN 'text' THEN 'team ' || i.priority WHEN 'boolean' THEN (i.priority > 2)::text END,
    CASE d.type WHEN 'number' THEN extract(day FROM i.created_at)::float8 END,
    CASE d.type WHEN 'date' THEN i.created_at END
FROM datalane.items i JOIN datalane.field_definitions d ON d.workspace_id = i.workspace_id AND d.index_state = 'ready'
WHERE i.workspace_id = $1"""
_POSTINGS = """
INSERT INTO datalane.search_postings (workspace_id, collection, term_id, entry_id, tf, length)
SELECT workspace_id, 2, hashtextextended(word, 0), item_id, 1, 2 FROM datalane.items i
CROSS JOIN LATERAL unnest(string_to_array(i.title, ' ')) AS word WHERE i.workspace_id = $1"""


@pytest.fixture
async def board(database: Database, cluster: EmbeddedPostgres, urls: Prepared) -> Board:
    """One workspace of many alike, of which the database has statistics."""
    superuser = cluster.url(urlsplit(urls.database_url).path.removeprefix("/"))
    workspaces = [uuid7() for _ in range(WORKSPACES)]
    users = people(superuser, workspaces, 3)
    for workspace in workspaces:
        board = await lay(database, workspace, users)
        async with database.transaction(board.admin) as tx:
            await tx.execute(_ITEMS, workspace, board.projects, users, DAY, ITEMS)
            for statement in (_TAGS, _FIELDS, _POSTINGS):
                await tx.execute(statement, workspace)
    with psycopg.connect(superuser, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    return board


def shapes_of(board: Board) -> list[Shape]:
    return shapes(
        Samples(
            project_id=board.projects[0],
            assignee_id=board.users[1],
            created_by=board.users[2],
            since=DAY.replace(day=8),
            tags=("common", "tag 3", "tag heron 7"),
            words=("heron", "7"),
            fields={
                "text": ("team", "team 1"),
                "number": ("cost", 12),
                "boolean": ("done", True),
                "date": ("due", "2026-03-08"),
            },
        )
    )


async def test_no_shape_reads_a_table_from_end_to_end(board: Board) -> None:
    found = shapes_of(board)
    assert len(found) >= 50
    assert len({shape.name for shape in found}) == len(found)
    async with board.database.transaction(board.context, plans=Plans.OWN) as tx:
        for shape in found:
            composed = compose(shape.query, board.fields, "english", board.workspace_id, tx.limits)
            plan = "\n".join(row[0] for row in await tx.fetch(f"EXPLAIN {composed.sql}", *composed.args))
            for table in ("items", "item_tags", "item_fields", "search_postings"):
                assert f"Seq Scan on {table} " not in plan, f"{shape.name}\n{plan}"
            rows = await tx.fetch(composed.sql, *composed.args)
            assert rows[0]["item_id"] is not None, f"{shape.name} finds nothing, so its plan proves nothing"


@pytest.mark.parametrize("sort", ["updated_at", "-updated_at", "created_at", "-created_at", "priority", "-priority"])
async def test_a_deep_page_begins_in_the_index_where_the_page_before_ended(board: Board, sort: str) -> None:
    shape = next(shape for shape in shapes_of(board) if shape.name == f"sort {sort}")
    reached = 2 if sort.endswith("priority") else DAY.replace(day=9)
    after = (reached, UUID("01990000-0000-7000-8000-0000000000c8"))
    async with board.database.transaction(board.context, plans=Plans.OWN) as tx:
        composed = compose(shape.query, board.fields, "english", board.workspace_id, tx.limits, after)
        plan = "\n".join(row[0] for row in await tx.fetch(f"EXPLAIN {composed.sql}", *composed.args))
    column = sort.removeprefix("-")
    conditions = [line for line in plan.splitlines() if "Index Cond" in line and f"ROW({column}, item_id)" in line]
    assert conditions, plan
    assert "Sort Key: i." not in plan, "the page comes in the order of the index"
