"""The catalog as values: relations with what protects them, functions, roles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiosql
import psycopg
from psycopg.rows import dict_row

from datalane.db.roles import Roles

LANE_SCHEMAS = ("app", "datalane")
WORKSPACE = "workspace_id"
_CLASS = "policy class: "

Row = dict[str, Any]
_queries = aiosql.from_path(Path(__file__).with_name("queries.sql"), "psycopg")


@dataclass(frozen=True)
class Relation:
    """A table, partitioned table, view, materialised view or foreign table. `kind` is PostgreSQL's letter for it."""

    name: str
    schema: str
    kind: str
    owner: str
    enabled: bool
    forced: bool
    partition: bool
    policy_class: str | None
    options: tuple[str, ...]
    workspace_type: str | None
    workspace_required: bool
    enum_columns: tuple[str, ...]
    policies: list[Row] = field(default_factory=list)
    indexes: list[Row] = field(default_factory=list)
    foreign_keys: list[Row] = field(default_factory=list)
    triggers: list[str] = field(default_factory=list)
    grants: list[Row] = field(default_factory=list)

    @property
    def is_table(self) -> bool:
        return self.kind in {"r", "p"}

    @property
    def tenant(self) -> bool:
        """Whether its rows belong to workspaces. A table that declares no class counts as one."""
        return self.is_table and self.policy_class != "global"


@dataclass(frozen=True)
class Catalog:
    """`tenants` are the tables of workspaces' rows without their partitions."""

    roles: Roles
    relations: list[Relation]
    functions: list[Row]
    enums: list[str]
    lane_roles: list[Row]
    names: dict[int, Relation]

    @property
    def tables(self) -> Iterator[Relation]:
        return (each for each in self.relations if each.is_table and not each.partition)

    @property
    def tenants(self) -> Iterator[Relation]:
        return (each for each in self.tables if each.tenant)


def read_catalog(connection: psycopg.Connection[Any], roles: Roles, schemas: Sequence[str] = ()) -> Catalog:
    """The lane's schemas and `schemas` whole, and of all others the tables with a workspace_id.

    Any login may read it. Names are written with their schema.
    """
    wanted = [*LANE_SCHEMAS, *schemas]
    before, connection.row_factory = connection.row_factory, dict_row
    try:
        connection.execute("SET search_path = ''")
        parts = {
            name: _grouped(getattr(_queries, f"list_{name}")(connection))
            for name in ("policies", "indexes", "foreign_keys", "triggers", "grants")
        }
        names = {row["oid"]: _relation(row, parts) for row in _queries.list_relations(connection, schemas=wanted)}
        return Catalog(
            roles,
            list(names.values()),
            list(_queries.list_functions(connection, schemas=wanted)),
            [row["name"] for row in _queries.list_enums(connection, schemas=wanted)],
            list(_queries.list_roles(connection, names=list(roles.all))),
            names,
        )
    finally:
        connection.row_factory = before


def _grouped(rows: Any) -> dict[int, list[Row]]:
    grouped = defaultdict(list)
    for row in rows:
        grouped[row["oid"]].append(row)
    return grouped


def _relation(row: Row, parts: dict[str, dict[int, list[Row]]]) -> Relation:
    oid, comment = row["oid"], row["comment"] or ""
    return Relation(
        **{name: row[name] for name in ("name", "schema", "kind", "owner", "enabled", "forced", "partition")},
        policy_class=comment.removeprefix(_CLASS) if comment.startswith(_CLASS) else None,
        options=tuple(row["options"]),
        workspace_type=row["workspace_type"],
        workspace_required=row["workspace_required"],
        enum_columns=tuple(row["enum_columns"]),
        policies=parts["policies"].get(oid, []),
        indexes=parts["indexes"].get(oid, []),
        foreign_keys=parts["foreign_keys"].get(oid, []),
        triggers=[each["name"] for each in parts["triggers"].get(oid, [])],
        grants=parts["grants"].get(oid, []),
    )
