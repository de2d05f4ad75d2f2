"""Workspaces with items, put there row by row through the tenant door, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.db.transaction import Transaction
from datalane.engine.search.index import Collection, add_entries
from datalane.kit.ids import uuid7
from datalane.work.fields.definitions import Fields, load_fields

DAY = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Row:
    """An item. `minute` numbers are minutes after `DAY`, and microseconds."""

    item_id: UUID = field(default_factory=uuid7)
    project_id: UUID | None = None
    title: str = "heron"
    description: str = ""
    status: str = "active"
    priority: int = 0
    assignee_id: UUID | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    created_at: datetime = DAY
    updated_at: datetime = DAY
    deleted: bool = False
    created_by: UUID | None = None


def at(minute: int) -> datetime:
    return DAY + timedelta(minutes=minute, microseconds=minute)


@dataclass(frozen=True)
class Board:
    """A workspace: who is in it, its projects, and its fields."""

    database: Database
    workspace_id: UUID
    users: Sequence[UUID]
    projects: Sequence[UUID]
    fields: Fields

    @property
    def context(self) -> Context:
        """A viewer, who may read and no more."""
        return Context(self.workspace_id, self.users[0], Role.VIEWER)

    @property
    def admin(self) -> Context:
        return Context(self.workspace_id, self.users[0], Role.ADMIN)

    async def add(self, *rows: Row) -> None:
        async with self.database.transaction(self.admin) as tx:
            await insert(tx, rows, self.fields, self.users[0])

    async def touch(self, row: Row, **changes: Any) -> Row:
        """Write `row` anew."""
        changed = replace(row, **changes)
        async with self.database.transaction(self.admin) as tx:
            for table in ("item_tags", "item_fields", "items"):
                await tx.execute(
                    f"DELETE FROM datalane.{table} WHERE workspace_id = $1 AND item_id = $2",
                    tx.workspace_id,
                    row.item_id,
                )
            await insert(tx, [changed], self.fields, self.users[0], texts=False)
        return changed


def people(url: str, workspaces: Sequence[UUID], count: int) -> list[UUID]:
    """Users who are in all of `workspaces`; the first one owns them. `url` is of a superuser."""
    users = [uuid7() for _ in range(count)]
    with psycopg.connect(url) as connection:
        connection.execute("SET ROLE datalane_definer")
        cursor = connection.cursor()
        cursor.executemany(
            "INSERT INTO datalane.users (user_id, email, name, password_hash, created_at) "
            "VALUES (%s, %s, 'Reader', 'none', clock_timestamp())",
            [(user, f"{user}@example.com") for user in users],
        )
        cursor.executemany(
            "INSERT INTO datalane.workspaces (workspace_id, name, owner_id, created_at) "
            "VALUES (%s, 'Board', %s, clock_timestamp())",
            [(workspace, users[0]) for workspace in workspaces],
        )
        cursor.executemany(
            "INSERT INTO datalane.memberships (workspace_id, user_id, role, status, created_at, updated_at) "
            "VALUES (%s, %s, %s, 'active', clock_timestamp(), clock_timestamp())",
            [
                (workspace, user, "owner" if user == users[0] else "member")
                for workspace in workspaces
                for user in users
            ],
        )
    return users


async def lay(database: Database, workspace_id: UUID, users: Sequence[UUID], projects: int = 2) -> Board:
    """A board in a workspace of `users`, with a field of each type, one that is building and one that is plain."""
    made = [uuid7() for _ in range(projects)]
    async with database.transaction(Context(workspace_id, users[0], Role.ADMIN)) as tx:
        await tx.execute(
            "INSERT INTO datalane.projects (workspace_id, project_id, title, status, created_at, updated_at, "
            "created_by_actor_id, updated_by_actor_id) "
            "SELECT $1, project_id, 'Project', 'active', $3, $3, $4, $4 FROM unnest($2::uuid[]) AS project_id",
            workspace_id,
            made,
            DAY,
            users[0],
        )
        for key, kind, state in (
            ("team", "text", "ready"),
            ("cost", "number", "ready"),
            ("done", "boolean", "ready"),
            ("due", "date", "ready"),
            ("slow", "number", "building"),
            ("note", "text", "none"),
        ):
            await define(tx, key, kind, state)
        fields = await load_fields(tx)
    return Board(database, workspace_id, users, made, fields)


async def define(tx: Transaction, key: str, kind: str, state: str, *old_keys: str) -> None:
    field_id = uuid7()
    await tx.execute(
        "INSERT INTO datalane.field_definitions (workspace_id, field_id, key, type, index_state, index_build, "
        "created_at, updated_at, created_by_actor_id, updated_by_actor_id) "
        "VALUES ($1, $2, $3, $4, $5, $8, $6, $6, $7, $7)",
        tx.workspace_id,
        field_id,
        key,
        kind,
        state,
        DAY,
        tx.context.actor_id,
        uuid7() if state == "building" else None,
    )
    for old in old_keys:
        await tx.execute(
            "INSERT INTO datalane.field_aliases (workspace_id, key, field_id) VALUES ($1, $2, $3)",
            tx.workspace_id,
            old,
            field_id,
        )


_ITEM = """INSERT INTO datalane.items (workspace_id, item_id, project_id, title, description, status, priority,
    assignee_id, tags, metadata, created_at, updated_at, archived_at, deleted_at, created_by_actor_id,
    updated_by_actor_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15)"""


async def insert(tx: Transaction, rows: Sequence[Row], fields: Fields, maker: UUID, texts: bool = True) -> None:
    """The rows of items and of everything that they are found by."""
    where = tx.workspace_id
    with_items = [
        (
            where,
            row.item_id,
            row.project_id,
            row.title,
            row.description,
            row.status,
            row.priority,
            row.assignee_id,
            list(row.tags),
            dict(row.metadata),
            row.created_at,
            row.updated_at,
            row.created_at if row.status == "archived" else None,
            row.updated_at if row.deleted else None,
            row.created_by or maker,
        )
        for row in rows
    ]
    indexed = [
        (where, value.field_id, row.item_id, value.text, value.number, value.date)
        for row in rows
        for value in fields.indexed(row.metadata).values()
    ]
    await tx.connection.executemany(_ITEM, with_items)
    await tx.connection.executemany(
        "INSERT INTO datalane.item_tags (workspace_id, tag, item_id) VALUES ($1, $2, $3)",
        [(where, tag, row.item_id) for row in rows for tag in row.tags],
    )
    await tx.connection.executemany(
        "INSERT INTO datalane.item_fields (workspace_id, field_id, item_id, text_value, number_value, date_value) "
        "VALUES ($1, $2, $3, $4, $5, $6)",
        indexed,
    )
    if texts:
        said = [f"{row.title}\n{row.description}" for row in rows]
        await add_entries(tx, Collection.ITEMS, [row.item_id for row in rows], said, "english")
