"""One SQL script as parse trees, and the tokens of the function bodies in it.

PL/pgSQL bodies are read as tokens: their variables cannot be resolved without the schema, and the rules on them need no
more. The only place that knows the parser.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from datalane.errors import ConfigurationError

Node = Any
"""A message of the parser, `CreateStmt` for example."""


@dataclass(frozen=True, slots=True)
class Token:
    """`text` is as written, `place` its offset in bytes."""

    text: str
    place: int

    @property
    def word(self) -> str:
        return self.text.upper()


@dataclass(frozen=True, slots=True)
class Statement:
    """`kind` is the parser's name of the node: `create_stmt`, `alter_table_stmt`."""

    kind: str
    node: Node = field(repr=False)
    line: int
    script: Script = field(repr=False)

    @property
    def place(self) -> str:
        return f"{self.script.path.name}:{self.line}"


@dataclass(frozen=True)
class Script:
    path: Path
    text: str = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> Script:
        return cls(path, path.read_text())

    @cached_property
    def _parsed(self) -> tuple[list[Statement], str | None]:
        parser = _parser()
        try:
            tree = parser.parse(self.text)
        except parser.PgQueryError as error:
            return [], str(error)
        return [self._statement(raw) for raw in tree.stmts], None

    def _statement(self, raw: Node) -> Statement:
        kind = raw.stmt.WhichOneof("node")
        begin = raw.stmt_location
        after = bisect.bisect_left(self._places, begin)
        first = self._places[after] if after < len(self._places) else begin
        return Statement(kind, getattr(raw.stmt, kind), self.line_at(first), self)

    @property
    def statements(self) -> list[Statement]:
        return self._parsed[0]

    @property
    def error(self) -> str | None:
        """Why the script cannot be parsed."""
        return self._parsed[1]

    @cached_property
    def _places(self) -> list[int]:
        return [token.place for token in tokens(self.text)]

    @cached_property
    def _line_ends(self) -> list[int]:
        return [place for place, byte in enumerate(self.text.encode()) if byte == 0x0A]

    def line_at(self, place: int) -> int:
        """The line, from 1, of the byte at `place`."""
        return bisect.bisect_left(self._line_ends, place) + 1


def tokens(text: str) -> list[Token]:
    """The tokens of a script or of a body, without comments; none of a text that the lexer refuses."""
    parser, source = _parser(), text.encode()
    try:
        found = parser.scan(text).tokens
    except parser.PgQueryError:
        return []
    comments = {parser.pg_query_pb2.Token.SQL_COMMENT, parser.pg_query_pb2.Token.C_COMMENT}
    return [Token(source[each.start : each.end].decode(), each.start) for each in found if each.token not in comments]


def children(node: Node) -> Iterator[tuple[str, Node]]:
    """The nodes right below, each with its type's name."""
    for described, value in node.ListFields():
        if described.type != described.TYPE_MESSAGE:
            continue
        for child in [value] if hasattr(value, "DESCRIPTOR") else value:
            inner = child.WhichOneof("node") if type(child).DESCRIPTOR.name == "Node" else None
            bare = getattr(child, inner) if inner else child
            yield type(bare).DESCRIPTOR.name, bare


def nodes(node: Node, *, below: frozenset[str] = frozenset()) -> Iterator[tuple[str, Node]]:
    """`node` and everything in it, each with its type's name; what lies in a type of `below` is left out."""
    name = type(node).DESCRIPTOR.name
    yield name, node
    if name in below:
        return
    for _, child in children(node):
        yield from nodes(child, below=below)


def strings(items: Any) -> list[str]:
    """The words of a list of String nodes: a qualified name, the columns of a key."""
    return [item.string.sval for item in items]


def relation(node: Node) -> str:
    """`schema.table` of a RangeVar."""
    return f"{node.schemaname}.{node.relname}" if node.schemaname else str(node.relname)


def enum_name(node: Node, attribute: str) -> str:
    """The name of an enum value: `CONSTR_CHECK`, `AT_AddColumn`."""
    described = node.DESCRIPTOR.fields_by_name[attribute].enum_type
    return str(described.values_by_number[getattr(node, attribute)].name)


def _parser() -> Any:
    try:
        import postgast
    except ImportError:
        raise ConfigurationError(
            "reading SQL needs the guard's libraries; install them with: pip install 'datalane[guard]'"
        ) from None
    return postgast
