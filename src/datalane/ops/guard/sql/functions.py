"""The functions and DO blocks of a script, and the rules on how functions are declared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from datalane.ops.guard.revisions import Revision
from datalane.ops.guard.rules import Fault, rule
from datalane.ops.guard.sql.script import Script, Statement, strings


@dataclass(frozen=True, slots=True)
class Body:
    """The text between the dollar quotes; `name` is the function's, or that of the script for a DO block."""

    name: str
    language: str
    text: str = field(repr=False)
    statement: Statement = field(repr=False)

    @property
    def place(self) -> str:
        return self.statement.place


def bodies(script: Script) -> Iterator[Body]:
    """Bodies written as text. Those written as SQL (`RETURN …`) are part of the parse tree."""
    for statement in script.statements:
        if statement.kind == "create_function_stmt":
            options = _options(statement)
            text = "\n".join(strings(options["as"].list.items)) if "as" in options else ""
            name = ".".join(strings(statement.node.funcname))
            yield Body(name, options["language"].string.sval, text, statement)
        elif statement.kind == "do_stmt":
            given = {each.def_elem.defname: each.def_elem.arg.string.sval for each in statement.node.args}
            yield Body(script.path.name, given.get("language", "plpgsql"), given["as"], statement)


@rule(
    "sql-definer-path",
    holds="a function that runs with its owner's rights sets an empty search_path",
    remedy="declare it SECURITY DEFINER SET search_path = '' and write every name with its schema",
    story="F2-E3",
)
def check_search_path(revisions: Sequence[Revision], history: object) -> Iterator[Fault]:
    for each in revisions:
        for statement in (one for script in each.up for one in script.statements):
            if statement.kind == "create_function_stmt" and _is_definer(statement) and not _path_is_empty(statement):
                name = ".".join(strings(statement.node.funcname))
                yield Fault(name, "SECURITY DEFINER without SET search_path = ''", statement.place)


def _options(statement: Statement) -> dict[str, Any]:
    return {each.def_elem.defname: each.def_elem.arg for each in statement.node.options}


def _is_definer(statement: Statement) -> bool:
    return any(
        each.def_elem.defname == "security" and each.def_elem.arg.boolean.boolval for each in statement.node.options
    )


def _path_is_empty(statement: Statement) -> bool:
    for each in statement.node.options:
        setting = each.def_elem.arg.variable_set_stmt
        if each.def_elem.defname == "set" and setting.name == "search_path":
            return [one.a_const.sval.sval for one in setting.args] == [""]
    return False
