"""Rules on the tables of a live database: class, workspace, keys, types, triggers."""

from __future__ import annotations

from collections.abc import Iterator

from datalane.contracts.authorization import CLASS_RULES
from datalane.ops.guard.catalog.read import WORKSPACE, Catalog
from datalane.ops.guard.declared import Declared
from datalane.ops.guard.rules import Fault, rule


@rule(
    "catalog-class",
    holds="every table declares a known policy class, and is a plain or partitioned table",
    remedy="SELECT app.protect('schema.table', 'tenant') as the owner, in a revision",
    story="F2-E3",
)
def check_class(catalog: Catalog, declared: Declared) -> Iterator[Fault]:
    for each in catalog.relations:
        if each.kind in {"m", "f"}:
            word = {"m": "a materialised view", "f": "a foreign table"}[each.kind]
            yield Fault(each.name, f"{word} has no row-level security", remedy="make it a table with a policy class")
        elif each.is_table and not each.partition and each.policy_class not in CLASS_RULES:
            said = "no policy class" if each.policy_class is None else f"{each.policy_class!r} is no policy class"
            yield Fault(each.name, said)


@rule(
    "catalog-global",
    holds="a table is global only when it is on the guard's list of them and has no workspace_id",
    remedy="give it another policy class, or have the list of global tables take it up with a reason",
    story="F2-E3",
)
def check_global(catalog: Catalog, declared: Declared) -> Iterator[Fault]:
    for each in catalog.tables:
        if each.policy_class == "global":
            if each.name not in declared.global_tables:
                yield Fault(each.name, "declared global, and not on the list of global tables")
            if each.workspace_type is not None:
                yield Fault(each.name, "declared global, and has a workspace_id")


@rule(
    "catalog-workspace",
    holds="every table of tenants' rows has workspace_id uuid NOT NULL",
    remedy="add workspace_id uuid NOT NULL in a revision",
    story="F2-E3",
)
def check_workspace(catalog: Catalog, declared: Declared) -> Iterator[Fault]:
    for each in catalog.tenants:
        if each.workspace_type is None:
            yield Fault(each.name, "no column workspace_id")
        elif each.workspace_type != "uuid":
            yield Fault(each.name, f"workspace_id is {each.workspace_type}, not uuid")
        elif not each.workspace_required:
            yield Fault(each.name, "workspace_id may be null")


@rule(
    "catalog-index",
    holds="every table of tenants' rows has a whole index that begins with workspace_id",
    remedy="begin the primary key with workspace_id, or add an index that does",
    story="F2-E3",
)
def check_index(catalog: Catalog, declared: Declared) -> Iterator[Fault]:
    for each in catalog.tenants:
        whole = [index for index in each.indexes if index["valid"] and not index["partial"]]
        if not any(index["columns"][:1] == [WORKSPACE] for index in whole):
            yield Fault(each.name, "no index that begins with workspace_id")


@rule(
    "catalog-keys",
    holds="primary keys and unique indexes of tenants' rows begin with workspace_id",
    remedy="begin the key with workspace_id; without it a workspace learns what another has, and it cannot be sharded",
    story="F2-E3",
)
def check_keys(catalog: Catalog, declared: Declared) -> Iterator[Fault]:
    for each in catalog.tenants:
        for index in each.indexes:
            if index["is_unique"] and index["columns"][:1] != [WORKSPACE]:
                shown = ", ".join(name or "an expression" for name in index["columns"])
                yield Fault(each.name, f"the unique index {index['name']} on ({shown})")


@rule(
    "catalog-foreign-keys",
    holds="a foreign key between tables of tenants' rows holds workspace_id on both sides",
    remedy="make it FOREIGN KEY (workspace_id, x_id) REFERENCES other (workspace_id, id)",
    story="F2-E3",
)
def check_foreign_keys(catalog: Catalog, declared: Declared) -> Iterator[Fault]:
    for each in catalog.tenants:
        for key in each.foreign_keys:
            target = catalog.names.get(key["target"])
            paired = dict(zip(key["columns"], key["referenced"], strict=True))
            if (target is None or target.tenant) and paired.get(WORKSPACE) != WORKSPACE:
                yield Fault(each.name, f"the foreign key {key['name']} to {key['target_name']} without the workspace")


@rule(
    "catalog-no-trigger",
    holds="no trigger and no rewrite rule on a table of tenants' rows",
    remedy="put the invariant into a constraint, or the effect into the verb that writes the row",
    story="F2-E3",
)
def check_triggers(catalog: Catalog, declared: Declared) -> Iterator[Fault]:
    for each in catalog.relations:
        if each.tenant:
            for name in each.triggers:
                yield Fault(each.name, f"the trigger {name}")


@rule(
    "catalog-no-enum",
    holds="no enum types and no columns of one: an index on one is out of reach behind the wall",
    remedy="use text with a named CHECK constraint",
    story="F2-E3",
)
def check_enums(catalog: Catalog, declared: Declared) -> Iterator[Fault]:
    for name in catalog.enums:
        yield Fault(name, "it is an enum type")
    for each in catalog.tenants:
        for column in each.enum_columns:
            yield Fault(each.name, f"the column {column} is of an enum type")
