"""Two workspaces with rows in every table, made from the catalog alone.

A row fills what must not be empty and whatever a check speaks of; Postgres itself finds the combinations that satisfy
the checks. Rows of one table differ in the words of its checks, so that there are jobs in every status and members of
every role. They are written by the superuser, past the policies, but not past keys and checks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from math import prod
from uuid import UUID

from datalane.errors import ConfigurationError
from datalane.ops.isolation.catalog import WORKSPACE, Catalog, Column, Table
from datalane.ops.isolation.session import Outcome, Session, name, quoted
from datalane.ops.isolation.values import ACTOR, MINE, SIDES, THEIRS, Place, Values

Row = Mapping[str, str | None]
ROWS = 18
"""Rows to try for a table and workspace; keys may leave fewer. Every other one also fills what may be empty."""
_MOST_COMBINATIONS = 100_000
_EQUATION = re.compile(r"\((\w+) = (.+)\)", re.DOTALL)


@dataclass
class Seeds:
    """What was written. `rows[table][side]` begins with the most ordinary row; `fresh` rows are not in the table."""

    values: Values
    rows: dict[str, dict[str, list[Row]]] = field(default_factory=dict)
    fresh: dict[str, dict[str, Row]] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    own: dict[str, int] = field(default_factory=dict)
    """Rows of the first workspace that belong to its actor, where a table says whose they are."""
    unfilled: dict[str, str] = field(default_factory=dict)
    """Tables that no row fits into, and why."""

    def workspace(self, side: str) -> UUID:
        return self.values.workspace(side)

    def actor(self, side: str) -> UUID:
        return self.values.actor(side)


def seed(session: Session, catalog: Catalog, moment: datetime, rows: int = ROWS) -> Seeds:
    """Write the rows, so many a table and workspace, and commit. What no row fits into is told in `unfilled`."""
    seeds = Seeds(Values(catalog, moment))
    session.run("BEGIN; SET CONSTRAINTS ALL DEFERRED")
    waiting = dict.fromkeys((table.name for table in catalog.tables), "")
    while waiting:
        left = {each: why for each in waiting if (why := _fill(session, catalog, seeds, each, rows))}
        if len(left) == len(waiting):
            seeds.unfilled = left
            break
        waiting = left
    for each in seeds.rows:
        table = catalog.relations[each]
        seeds.fresh[each] = {side: _fresh(session, seeds, table, side) for side in SIDES}
    session.run("COMMIT")
    _count(session, catalog, seeds)
    return seeds


def insert(table: Table, row: Row, changes: Mapping[str, str | None] | None = None) -> str:
    """The statement that adds `row`, with some of its values changed and what is computed from them computed anew."""
    row = {**row, **(changes or {})}
    computed = dict(_equations(table)) if changes else {}
    types = {column.name: column.type for column in table.columns}
    given = {column: value for column, value in row.items() if column not in computed}
    columns = ", ".join(map(name, [*given, *computed]))
    values = ", ".join(f"{quoted(value)}::{types[column]}" for column, value in given.items())
    source = f"(VALUES ({values})) AS given ({', '.join(map(name, given))})"
    return (
        f"INSERT INTO {table.sql} ({columns}) SELECT {', '.join([*map(name, given), *computed.values()])} FROM {source}"
    )


def _fill(session: Session, catalog: Catalog, seeds: Seeds, table_name: str, rows: int) -> str:
    """Rows for both workspaces. Answers why none fits, or nothing."""
    table = catalog.relations[table_name]
    made: dict[str, list[Row]] = {side: [] for side in SIDES}
    session.run("SAVEPOINT filling")
    for side in SIDES:
        why = "no row could be made"
        for number in range(rows):
            for links in (number, 0):
                row, said = _add(session, seeds, table, Place(side, number, links))
                if row is not None:
                    made[side].append(row)
                    break
                why = str(said)
        if not made[side]:
            session.run("ROLLBACK TO SAVEPOINT filling")
            return why
    seeds.rows[table_name] = made
    return ""


def _add(session: Session, seeds: Seeds, table: Table, place: Place) -> tuple[Row | None, Outcome | str]:
    said: Outcome | str = "no combination of values satisfies its checks"
    try:
        rows = _combinations(session, seeds.values, table, place)
    except ConfigurationError as error:
        return None, str(error)
    for row in islice(_turned(rows, place.number // 2), 12):
        said = session.try_(f"SAVEPOINT seeding; {insert(table, row)}; RELEASE SAVEPOINT seeding")
        if said.worked:
            return row, said
        session.run("ROLLBACK TO SAVEPOINT seeding")
        if said.state == "23503":
            break
    return None, said


def _fresh(session: Session, seeds: Seeds, table: Table, side: str) -> Row:
    """A row that could be added; where a key leaves no room for one, a row whose key is taken."""
    for row in islice(_combinations(session, seeds.values, table, Place(side, ROWS, 0)), 12):
        said = session.try_(f"SAVEPOINT seeding; {insert(table, row)}")
        session.run("ROLLBACK TO SAVEPOINT seeding")
        if said.worked:
            return row
    return row


def _turned(rows: Sequence[Row], by: int) -> Iterator[Row]:
    for place in range(len(rows)):
        yield rows[(place + by) % len(rows)]


def _combinations(session: Session, values: Values, table: Table, place: Place) -> list[Row]:
    """Rows that satisfy the checks: first as few as show every candidate once, then others."""
    open_columns = {column for check in table.checks for column in check.columns} | {ACTOR}
    linked = {mine for link in table.links for mine in link.columns}
    wanted = [
        column
        for column in table.columns
        if not column.generated
        and (
            column.name in open_columns | linked | values.pointed_at(table) | {WORKSPACE}
            or (not column.filled and (column.required or place.number % 2 == 1))
        )
    ]
    equations = dict(_equations(table))
    candidates = {
        column.name: values.candidates(table, column, place)[: None if column.name in open_columns else 1]
        for column in wanted
        if column.name not in equations
    }
    lonely = _take_lonely(session, table, wanted, candidates)
    if prod(map(len, candidates.values())) > _MOST_COMBINATIONS:
        raise ConfigurationError(f"the checks of {table.name} have too many combinations for the isolation proof")
    listed = [column.name for column in wanted if column.name in candidates and values.has_words(table, column)]
    together = [column for column in wanted if column.name not in lonely]
    return _joined(_covering(_solve(session, table, together, candidates, equations), listed), lonely)


def _take_lonely(
    session: Session, table: Table, wanted: Sequence[Column], candidates: dict[str, list[str | None]]
) -> dict[str, list[str | None]]:
    """What may stand in columns that no check speaks of together with others; they are taken out of `candidates`."""
    sources, linked = [], {column for check in table.checks if len(check.columns) > 1 for column in check.columns}
    for column in wanted:
        alone = [check.says for check in table.checks if check.columns == (column.name,)]
        if alone and column.name in candidates and column.name not in linked:
            literals = candidates.pop(column.name)
            rows = ", ".join(f"({quoted(each)}::{column.type}, {rank})" for rank, each in enumerate(literals))
            checks = " AND ".join(f"({says}) IS NOT FALSE" for says in alone)
            sources.append(
                f"'{column.name}', (SELECT json_agg({name(column.name)}::text ORDER BY rank) "
                f"FROM (VALUES {rows}) AS v ({name(column.name)}, rank) WHERE {checks})"
            )
    found = session.read(f"SELECT json_build_object({', '.join(sources)})") if sources else {}
    return {column: fitting or [] for column, fitting in found.items()}


def _joined(rows: Sequence[Row], lonely: Mapping[str, Sequence[str | None]]) -> list[Row]:
    """The rows, with what may stand in the other columns in turn, until each of it was shown."""
    if not rows or not all(lonely.values()):
        return []
    most = max(len(rows), *map(len, lonely.values()), 1)
    return [
        {**rows[place % len(rows)], **{column: fitting[place % len(fitting)] for column, fitting in lonely.items()}}
        for place in range(most)
    ]


def _equations(table: Table) -> Iterator[tuple[str, str]]:
    """Columns that a check says are computed from others."""
    for check in table.checks:
        found = _EQUATION.fullmatch(check.says)
        if (
            found
            and len(check.columns) > 1
            and found[1] in check.columns
            and not re.search(rf"\b{found[1]}\b", found[2])
        ):
            yield found[1], found[2]


def _solve(
    session: Session,
    table: Table,
    wanted: Sequence[Column],
    candidates: Mapping[str, Sequence[str | None]],
    equations: Mapping[str, str],
) -> list[Row]:
    if not table.checks:
        return [{column: literals[0] for column, literals in candidates.items()}]
    sources, types = [], {column.name: column.type for column in wanted}
    for place, (column, literals) in enumerate(candidates.items()):
        rows = ", ".join(f"({quoted(literal)}::{types[column]}, {rank})" for rank, literal in enumerate(literals))
        sources.append(f"(VALUES {rows}) AS v{place} ({name(column)}, rank{place})")
    sources += [f"LATERAL (SELECT {says} AS {name(column)}) AS e_{column}" for column, says in equations.items()]
    spoken = [check.says for check in table.checks if types.keys() >= set(check.columns)]
    checks = " AND ".join(f"({says}) IS NOT FALSE" for says in spoken) or "true"
    order = ", ".join(f"rank{place}" for place in range(len(candidates)))
    told = ", ".join(f"'{column.name}', {name(column.name)}::text" for column in wanted)
    query = (
        f"SELECT coalesce(json_agg(found), '[]') FROM (SELECT json_build_object({told}) AS found "
        f"FROM {', '.join(sources)} WHERE {checks} ORDER BY {order} LIMIT 2000) AS solutions"
    )
    return list(session.read(query))


def _covering(rows: Sequence[Row], listed: Sequence[str]) -> list[Row]:
    """The same rows, those first that show a word of the columns in `listed` which no earlier one shows."""
    seen, first, rest = set[tuple[str, str | None]](), list[Row](), list[Row]()
    for row in rows:
        shown = {(column, row[column]) for column in listed}
        (rest if first and shown <= seen else first).append(row)
        seen |= shown
    return first + rest


def _count(session: Session, catalog: Catalog, seeds: Seeds) -> None:
    for table in [*(catalog.relations[each] for each in seeds.rows), *catalog.views]:
        if not table.has_workspace:
            seeds.counts[table.name] = {MINE: int(session.read(f"SELECT count(*) FROM {table.sql}")), THEIRS: 0}
            continue
        seeds.counts[table.name] = {
            side: int(session.read(f"SELECT count(*) FROM {table.sql} WHERE workspace_id = '{seeds.workspace(side)}'"))
            for side in SIDES
        }
        if ACTOR in table.column_names and not table.is_view:
            where = f"workspace_id = '{seeds.workspace(MINE)}' AND actor_id = '{seeds.actor(MINE)}'"
            seeds.own[table.name] = int(session.read(f"SELECT count(*) FROM {table.sql} WHERE {where}"))
