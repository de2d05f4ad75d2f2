"""The tables as the up scripts make them, revision after revision, without a database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from datalane.ops.guard.revisions import Revision
from datalane.ops.guard.sql.script import Node, Statement, enum_name, nodes, relation, strings

WORKSPACE = "workspace_id"


@dataclass(frozen=True, slots=True)
class Key:
    """A primary key, a unique constraint or a unique index. `name` is None when the server makes one up."""

    kind: str
    columns: tuple[str, ...]
    name: str | None
    place: str


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """`references` is empty when it points at the target's primary key."""

    columns: tuple[str, ...]
    target: str
    references: tuple[str, ...]
    place: str


@dataclass(slots=True)
class Table:
    """`made_in` is the number of its revision; `policy_class` is None until one is declared."""

    name: str
    made_in: str
    place: str
    partition: bool = False
    policy_class: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    required: set[str] = field(default_factory=set)
    keys: list[Key] = field(default_factory=list)
    foreign_keys: list[ForeignKey] = field(default_factory=list)

    @property
    def tenant(self) -> bool:
        """Whether its rows belong to workspaces. A table without a class counts as one."""
        return self.policy_class != "global"


@dataclass(frozen=True, slots=True)
class Protection:
    """One `app.protect(target, class)`."""

    target: str
    policy_class: str
    place: str


class History:
    """All tables after the last revision. A table that a later revision drops is gone."""

    def __init__(self, revisions: Sequence[Revision]) -> None:
        self.tables: dict[str, Table] = {}
        for revision in revisions:
            for script in revision.up:
                for statement in script.statements:
                    self._apply(statement, revision.number)

    def made_in(self, revision: Revision) -> list[Table]:
        return [table for table in self.tables.values() if table.made_in == revision.number]

    def is_tenant(self, name: str) -> bool:
        """Whether a table holds tenants' rows; one that no revision made counts as one."""
        return name not in self.tables or self.tables[name].tenant

    def primary_key(self, name: str) -> tuple[str, ...]:
        keys = self.tables[name].keys if name in self.tables else []
        return next((key.columns for key in keys if key.kind == "primary key"), ())

    def _apply(self, statement: Statement, number: str) -> None:
        node = statement.node
        match statement.kind:
            case "create_stmt":
                table = Table(relation(node.relation), number, statement.place, node.HasField("partbound"))
                self.tables[table.name] = table
                for element in node.table_elts:
                    _add_element(table, element, statement.place)
            case "alter_table_stmt" if relation(node.relation) in self.tables:
                for command in node.cmds:
                    _alter(self.tables[relation(node.relation)], command.alter_table_cmd, statement.place)
            case "index_stmt" if node.unique and relation(node.relation) in self.tables:
                columns = tuple(each.index_elem.name for each in node.index_params)
                key = Key("unique index", columns, node.idxname or None, statement.place)
                self.tables[relation(node.relation)].keys.append(key)
            case "drop_stmt" if enum_name(node, "remove_type") == "OBJECT_TABLE":
                for each in node.objects:
                    self.tables.pop(".".join(strings(each.list.items)), None)
            case "rename_stmt" if enum_name(node, "rename_type") == "OBJECT_TABLE":
                self._rename(relation(node.relation), node.newname)
        for each in protections(statement):
            if each.target in self.tables:
                self.tables[each.target].policy_class = each.policy_class

    def _rename(self, name: str, new_name: str) -> None:
        if table := self.tables.pop(name, None):
            table.name = f"{name.rpartition('.')[0]}.{new_name}".lstrip(".")
            self.tables[table.name] = table


def protections(statement: Statement) -> Iterator[Protection]:
    """The policy classes that a statement declares."""
    for kind, node in nodes(statement.node) if statement.kind == "select_stmt" else ():
        if kind == "FuncCall" and strings(node.funcname) == ["app", "protect"]:
            given: dict[str | int, str] = {}
            for position, argument in enumerate(node.args):
                named = argument.named_arg_expr if argument.HasField("named_arg_expr") else None
                value = named.arg if named else argument
                given[named.name if named else position] = value.a_const.sval.sval
            target, policy_class = given.get(0, given.get("target", "")), given.get(1, given.get("class", ""))
            yield Protection(target, policy_class, statement.place)


def _add_element(table: Table, element: Node, place: str) -> None:
    if element.HasField("column_def"):
        _add_column(table, element.column_def, place)
    elif element.HasField("constraint"):
        _add_constraint(table, element.constraint, place)


def _add_column(table: Table, column: Node, place: str) -> None:
    table.columns[column.colname] = ".".join(strings(column.type_name.names)).removeprefix("pg_catalog.")
    for each in column.constraints:
        kind = enum_name(each.constraint, "contype")
        if kind in {"CONSTR_NOTNULL", "CONSTR_PRIMARY"}:
            table.required.add(column.colname)
        _add_constraint(table, each.constraint, place, column.colname)


def _add_constraint(table: Table, node: Node, place: str, column: str | None = None) -> None:
    """`column` is that of a constraint written beside its column."""
    own = (column,) if column else ()
    match enum_name(node, "contype"):
        case "CONSTR_PRIMARY":
            columns = own or tuple(strings(node.keys))
            table.required.update(columns)
            table.keys.append(Key("primary key", columns, node.conname or None, place))
        case "CONSTR_UNIQUE":
            columns = own or tuple(strings(node.keys))
            table.keys.append(Key("unique constraint", columns, node.conname or None, place))
        case "CONSTR_FOREIGN":
            target, references = relation(node.pktable), tuple(strings(node.pk_attrs))
            table.foreign_keys.append(ForeignKey(own or tuple(strings(node.fk_attrs)), target, references, place))


def _alter(table: Table, command: Node, place: str) -> None:
    match enum_name(command, "subtype"):
        case "AT_AddColumn":
            _add_column(table, getattr(command, "def").column_def, place)
        case "AT_AddConstraint":
            _add_constraint(table, getattr(command, "def").constraint, place)
        case "AT_DropColumn":
            table.columns.pop(command.name, None)
        case "AT_SetNotNull":
            table.required.add(command.name)
        case "AT_DropNotNull":
            table.required.discard(command.name)
