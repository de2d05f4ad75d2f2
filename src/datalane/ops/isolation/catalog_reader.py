"""Asks a database for its catalog (`catalog.sql`) and makes the values of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from datalane.db.roles import Roles
from datalane.ops.isolation.catalog import (
    Argument,
    Catalog,
    Check,
    Column,
    DatabaseRole,
    Grant,
    Key,
    Link,
    Membership,
    Policy,
    Table,
    Verb,
)
from datalane.ops.isolation.session import Session, quoted


def read_catalog(session: Session, roles: Roles) -> Catalog:
    return Catalog(
        roles,
        {table.name: table for table in read_tables(session)},
        tuple(read_verbs(session)),
        tuple(read_roles(session, roles)),
    )


def read_tables(session: Session, only: Iterable[int] | None = None) -> list[Table]:
    """Tables, partitions and views; all of them, or those with these oids."""
    return [_table(row) for row in _read(session, "tables", "c", only)]


def read_verbs(session: Session, only: Iterable[int] | None = None) -> list[Verb]:
    rows = _read(session, "verbs", "p", only)
    return [
        Verb(
            short_name=row.pop("name"),
            settings=tuple(row.pop("settings")),
            arguments=tuple(Argument(**one) for one in row.pop("arguments")),
            callers=frozenset(row.pop("callers")),
            **row,
        )
        for row in rows
    ]


def read_roles(session: Session, roles: Roles) -> list[DatabaseRole]:
    rows = session.read(_queries()["roles"].replace(":names", ", ".join(map(quoted, roles.all))))
    return [
        DatabaseRole(
            member_of=tuple(Membership(**one) for one in row.pop("member_of")),
            creates_in=tuple(row.pop("creates_in")),
            **row,
        )
        for row in rows
    ]


def _read(session: Session, what: str, alias: str, only: Iterable[int] | None) -> list[dict[str, Any]]:
    """Planning these queries takes longer than answering them for one oid, which is asked after every mutant."""
    query = _queries()[what]
    if only is None:
        return list(session.read(query.replace(":only", "true")))
    one = query.replace(":only", f"{alias}.oid = $1::oid")
    return [row for oid in only for row in session.read_prepared(f"one_of_{what}", one, str(oid))]


def _table(row: dict[str, Any]) -> Table:
    def tuples(key: str, kind: type[Any], *lists: str) -> tuple[Any, ...]:
        return tuple(kind(**{**one, **{each: tuple(one[each] or ()) for each in lists}}) for one in row.pop(key))

    keys = [{each: one[each] for each in one if each != "valid"} for one in row["keys"] if one["valid"]]
    row["keys"] = keys
    return Table(
        short_name=row.pop("name"),
        comment=row.pop("comment") or "",
        options=tuple(row.pop("options")),
        columns=tuples("columns", Column),
        checks=tuples("checks", Check, "columns"),
        keys=tuples("keys", Key, "columns"),
        links=tuples("links", Link, "columns", "target_columns"),
        policies=tuples("policies", Policy, "roles"),
        grants=frozenset(Grant(**one) for one in row.pop("grants")),
        triggers=tuple(row.pop("triggers")),
        reads=tuple(row.pop("reads")),
        **row,
    )


@cache
def _queries() -> Mapping[str, str]:
    parts = re.split(r"^-- name: (\w+)\n", (Path(__file__).parent / "catalog.sql").read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))
