"""What the database says of itself: tables, views, verbs and roles, as values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from datalane.db.roles import Roles
from datalane.ops.isolation.session import name

WORKSPACE = "workspace_id"
CLASS_COMMENT = "policy class: "


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    required: bool
    filled: bool
    """Whether the database has a value when none is given."""
    generated: bool


@dataclass(frozen=True)
class Check:
    name: str
    says: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Key:
    """An index. A column that is an expression is None."""

    name: str
    columns: tuple[str | None, ...]
    primary: bool
    unique: bool
    where: str | None

    @property
    def beyond_workspace(self) -> tuple[str, ...]:
        return tuple(column for column in self.columns if column and column != WORKSPACE)


@dataclass(frozen=True)
class Link:
    """A foreign key."""

    name: str
    columns: tuple[str, ...]
    target: str
    target_columns: tuple[str, ...]

    @property
    def beyond_workspace(self) -> dict[str, str]:
        """The columns that name a row inside a workspace, and those they point at."""
        pairs = dict(zip(self.columns, self.target_columns, strict=True))
        return {mine: theirs for mine, theirs in pairs.items() if theirs != WORKSPACE}


@dataclass(frozen=True)
class Policy:
    name: str
    command: str
    roles: tuple[str, ...]
    permissive: bool
    using: str | None
    check: str | None


@dataclass(frozen=True)
class Grant:
    role: str
    privilege: str
    column: str | None = None


@dataclass(frozen=True)
class Table:
    """A table, a partition (`parent` is set) or a view (`reads` names what it selects from)."""

    oid: int
    schema: str
    short_name: str
    kind: str
    comment: str
    owner: str
    secured: bool
    forced: bool
    parent: str | None
    options: tuple[str, ...]
    columns: tuple[Column, ...]
    checks: tuple[Check, ...]
    keys: tuple[Key, ...]
    links: tuple[Link, ...]
    policies: tuple[Policy, ...]
    grants: frozenset[Grant]
    triggers: tuple[str, ...]
    reads: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.schema}.{self.short_name}"

    @property
    def sql(self) -> str:
        return f"{name(self.schema)}.{name(self.short_name)}"

    @property
    def policy_class(self) -> str | None:
        """As declared with app.protect, None when it was not."""
        return self.comment.removeprefix(CLASS_COMMENT) if self.comment.startswith(CLASS_COMMENT) else None

    @property
    def is_view(self) -> bool:
        return self.kind in {"v", "m"}

    @cached_property
    def column_names(self) -> frozenset[str]:
        return frozenset(column.name for column in self.columns)

    @property
    def has_workspace(self) -> bool:
        return WORKSPACE in self.column_names

    @property
    def primary_key(self) -> Key | None:
        return next((key for key in self.keys if key.primary), None)

    def granted(self, role: str) -> frozenset[str]:
        """Privileges on the whole table."""
        return frozenset(one.privilege for one in self.grants if one.role == role and one.column is None)


@dataclass(frozen=True)
class Argument:
    name: str
    type: str
    optional: bool


@dataclass(frozen=True)
class Verb:
    oid: int
    schema: str
    short_name: str
    signature: str
    definer: bool
    owner: str
    settings: tuple[str, ...]
    language: str
    source: str
    definition: str
    arguments: tuple[Argument, ...]
    callers: frozenset[str]

    @property
    def name(self) -> str:
        return f"{self.schema}.{self.short_name}"

    @cached_property
    def code(self) -> str:
        """The source without its comments."""
        return re.sub(r"--[^\n]*", "", self.source)

    @cached_property
    def mentions(self) -> frozenset[str]:
        """Every `schema.name` in the source: tables and other verbs."""
        return frozenset(re.findall(r"\b([a-z_]\w*\.[a-z_]\w*)\b", self.code))


@dataclass(frozen=True)
class Membership:
    role: str
    inherits: bool
    administers: bool


@dataclass(frozen=True)
class DatabaseRole:
    name: str
    superuser: bool
    bypasses: bool
    inherits: bool
    logs_in: bool
    makes_roles: bool
    makes_databases: bool
    member_of: tuple[Membership, ...]
    creates_in: tuple[str, ...]


@dataclass(frozen=True)
class Catalog:
    """A picture of the whole database."""

    roles: Roles
    relations: Mapping[str, Table]
    verbs: tuple[Verb, ...]
    database_roles: tuple[DatabaseRole, ...] = field(default=())

    @cached_property
    def tables(self) -> list[Table]:
        """Tables proper: no partitions, no views."""
        return [one for one in self.relations.values() if one.parent is None and not one.is_view]

    @cached_property
    def views(self) -> list[Table]:
        return [one for one in self.relations.values() if one.is_view]

    def is_classed(self, subject: str) -> bool:
        """False for a table that declares no policy class, so that nothing says what should happen to it."""
        table = self.relations.get(subject)
        return table is None or table.is_view or table.parent is not None or table.policy_class is not None

    def partitions(self, table: Table) -> list[Table]:
        return [one for one in self.relations.values() if one.parent == table.name]

    def views_of(self, table: Table) -> list[Table]:
        return [view for view in self.views if table.name in view.reads]

    @cached_property
    def reach(self) -> Mapping[int, frozenset[str]]:
        """By verb: every table and verb that it names, itself or through the verbs it calls."""
        reached = {name: self.reached_from([name]) for name in self._verbs_by_name}
        return {verb.oid: reached[verb.name] for verb in self.verbs}

    def reached_from(self, names: Iterable[str]) -> frozenset[str]:
        """Every table and verb that the verbs of these names name, themselves or through the verbs they call."""
        found, waiting = set[str](), list(names)
        while waiting:
            for verb in self._verbs_by_name.get(waiting.pop(), ()):
                waiting += (verb.mentions - found) & self._verbs_by_name.keys()
                found |= verb.mentions
        return frozenset(found)

    @cached_property
    def _verbs_by_name(self) -> Mapping[str, list[Verb]]:
        found: dict[str, list[Verb]] = {}
        for verb in self.verbs:
            found.setdefault(verb.name, []).append(verb)
        return found
