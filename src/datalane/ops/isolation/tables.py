"""The cells of a table: what each actor gets from it by each probe, against what the oracle says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from datalane.ops.isolation.actors import Actor, Stage
from datalane.ops.isolation.catalog import WORKSPACE, Catalog, Key, Link, Table
from datalane.ops.isolation.cells import Cell, Verdict
from datalane.ops.isolation.oracle import READ_BY_ALL, Oracle
from datalane.ops.isolation.seed import Row, Seeds, insert
from datalane.ops.isolation.session import Outcome, name
from datalane.ops.isolation.values import ACTOR, MINE, THEIRS


@dataclass(frozen=True, slots=True)
class Step:
    """One statement. `needs` are the commands that its actor must be allowed on its own rows (empty: nobody is), `rows`
    what it then gives. `loud`: who is not allowed must be refused, not just get no row. `also_fine`: states that say
    the policies let it through and a key stopped it, which is as good. `instead`: what should stop who is allowed.
    """

    sql: str
    needs: tuple[str, ...] = ()
    rows: int = 0
    loud: bool = False
    also_fine: frozenset[str] = frozenset()
    instead: frozenset[str] = frozenset()


Steps = list[Step] | str
"""The statements of a probe, or why there are none."""


@dataclass(frozen=True)
class Bench:
    """What the probes are made from."""

    catalog: Catalog
    seeds: Seeds
    oracle: Oracle

    def rows(self, table: Table, side: str) -> int:
        """How many rows a role of the workspace may see at most."""
        if table.policy_class == "self":
            return self.seeds.own.get(table.name, 0)
        return self.seeds.counts[table.name][side]


_LINK, _UNIQUE = "23503", "23505"
_KEYS = frozenset({_LINK, _UNIQUE, "23P01"})


def _where(table: Table, bench: Bench, actor: Actor) -> str:
    """Roles try without a filter, as forgetful code does; the other workspace's rows are asked for by name."""
    side = f" WHERE {WORKSPACE} = '{bench.seeds.workspace(THEIRS)}'"
    return side if actor.goes_for == THEIRS and table.has_workspace else ""


def _select(table: Table, bench: Bench, actor: Actor) -> Steps:
    column = WORKSPACE if table.has_workspace else next(iter(table.columns)).name
    sql = f"SELECT {name(column)} FROM {table.sql}{_where(table, bench, actor)}"
    return [Step(sql, ("select",), bench.rows(table, MINE))]


def _insert(table: Table, bench: Bench, actor: Actor) -> Steps:
    return [Step(insert(table, bench.seeds.fresh[table.name][actor.goes_for]), ("insert",), 1, True, _KEYS)]


def _update(table: Table, bench: Bench, actor: Actor) -> Steps:
    if not table.has_workspace:
        column = name(next(iter(table.columns)).name)
        return [Step(f"UPDATE {table.sql} SET {column} = {column}", ("update",), bench.rows(table, MINE))]
    # Without reading a column, so that the policies for reading do not stand in for those for writing.
    to = f"'{bench.seeds.workspace(MINE)}'" if actor.goes_for == MINE else WORKSPACE
    sql = f"UPDATE {table.sql} SET {WORKSPACE} = {to}{_where(table, bench, actor)}"
    return [Step(sql, ("update",), bench.rows(table, MINE))]


def _delete(table: Table, bench: Bench, actor: Actor) -> Steps:
    sql = f"DELETE FROM {table.sql}{_where(table, bench, actor)}"
    return [Step(sql, ("delete",), bench.rows(table, MINE), also_fine=frozenset({_LINK}))]


def _move(table: Table, bench: Bench, actor: Actor) -> Steps:
    if not table.has_workspace:
        return "it has no workspace_id, so no row of it can change its workspace"
    to = bench.seeds.workspace(THEIRS if actor.goes_for == MINE else MINE)
    return [Step(f"UPDATE {table.sql} SET {WORKSPACE} = '{to}'{_where(table, bench, actor)}")]


def _on_conflict(table: Table, bench: Bench, actor: Actor) -> Steps:
    key = table.primary_key
    if key is None:
        return "it has no primary key, so no conflict can be named"
    rows = bench.seeds.rows[table.name]
    columns = [column for column in key.columns if column]
    if not rows[actor.goes_for] or not all(column in rows[actor.goes_for][0] for column in columns):
        return "no row with a key was made for it"
    target = WORKSPACE if table.has_workspace else columns[0]
    sql = (
        f"{insert(table, rows[actor.goes_for][0])} ON CONFLICT ({', '.join(map(name, columns))}) "
        f"DO UPDATE SET {name(target)} = EXCLUDED.{name(target)}"
    )
    return [Step(sql, ("select", "insert", "update"), 1, True)]


def _returning(table: Table, bench: Bench, actor: Actor) -> Steps:
    column = name(WORKSPACE if table.has_workspace else next(iter(table.columns)).name)
    where, rows = _where(table, bench, actor), bench.rows(table, MINE)
    added = insert(table, bench.seeds.fresh[table.name][actor.goes_for])
    return [
        Step(f"{added} RETURNING {column}", ("select", "insert"), 1, True, _KEYS),
        Step(f"UPDATE {table.sql} SET {column} = {column}{where} RETURNING {column}", ("select", "update"), rows),
        Step(
            f"DELETE FROM {table.sql}{where} RETURNING {column}", ("select", "delete"), rows, False, frozenset({_LINK})
        ),
    ]


def _copy(table: Table, bench: Bench, actor: Actor) -> Steps:
    column = name(WORKSPACE if table.has_workspace else next(iter(table.columns)).name)
    sql = f"COPY (SELECT {column} FROM {table.sql}{_where(table, bench, actor)}) TO STDOUT"
    return [Step(sql, ("select",), bench.rows(table, MINE))]


def _copy_in(table: Table, bench: Bench, actor: Actor) -> Steps:
    return [Step(f"COPY {table.sql} FROM STDIN", loud=True)]


def _truncate(table: Table, bench: Bench, actor: Actor) -> Steps:
    return [Step(f"TRUNCATE {table.sql}", loud=True)]


def _foreign_key(table: Table, bench: Bench, actor: Actor) -> Steps:
    links = [link for link in table.links if _leads_elsewhere(bench.catalog, link)]
    if not table.links:
        return "it has no foreign key"
    if not links:
        return "its foreign keys name the workspace itself or what belongs to none"
    side, other = actor.goes_for, THEIRS if actor.goes_for == MINE else MINE
    steps = []
    for link in links:
        if link.target in bench.seeds.unfilled:
            continue
        row = bench.seeds.rows[link.target][other][0]
        named = {mine: row.get(theirs) for mine, theirs in link.beyond_workspace.items()}
        sql = insert(table, bench.seeds.fresh[table.name][side], named)
        steps.append(Step(sql, ("insert",), 0, True, instead=frozenset({_LINK})))
    return steps or "what its foreign keys point at has no rows"


def _leads_elsewhere(catalog: Catalog, link: Link) -> bool:
    """Whether it names a row of a workspace by more than its workspace."""
    return bool(link.beyond_workspace) and catalog.relations[link.target].has_workspace


def _unique(table: Table, bench: Bench, actor: Actor) -> Steps:
    if not table.has_workspace:
        return "it has no workspace_id, so its keys are everybody's"
    keys = [key for key in table.keys if key.unique and key.beyond_workspace]
    if not keys:
        return "no key of it holds more than the workspace"
    side, other = actor.goes_for, THEIRS if actor.goes_for == MINE else MINE
    fresh, taken = bench.seeds.fresh[table.name][side], bench.seeds.rows[table.name][other]
    if table.policy_class == "self":
        taken = [row for row in taken if row.get(ACTOR) == str(bench.seeds.actor(MINE))] or taken
    steps = []
    for key in keys:
        same = _taken(key, taken)
        if same is not None:
            # A link that now leads nowhere is found after the keys were looked at.
            fine = frozenset({_LINK, "23514"})
            steps.append(Step(insert(table, fresh, same), ("insert",), 1, True, fine))
    return steps or "no row of the other workspace fills its keys"


def _taken(key: Key, rows: list[Row]) -> Mapping[str, str | None] | None:
    """A key of the other workspace, but for the workspace. One that a filtered index holds, where it can be told."""
    for row in rows:
        if all(row.get(column) is not None for column in key.beyond_workspace):
            return {column: row[column] for column in key.beyond_workspace}
    return None


def _partition(table: Table, bench: Bench, actor: Actor) -> Steps:
    partitions = bench.catalog.partitions(table)
    if not partitions:
        return "it is not partitioned"
    return [
        Step(sql, loud=True) for each in partitions for sql in (f"SELECT FROM {each.sql}", f"DELETE FROM {each.sql}")
    ]


def _view(table: Table, bench: Bench, actor: Actor) -> Steps:
    views = bench.catalog.views_of(table)
    if not views:
        return "no view reads it"
    return [
        Step(
            f"SELECT {WORKSPACE if view.has_workspace else ''} FROM {view.sql}{_where(view, bench, actor)}",
            ("select",),
            bench.seeds.counts[view.name][MINE],
        )
        for view in views
    ]


PROBES: Mapping[str, Callable[[Table, Bench, Actor], Steps]] = {
    "select": _select,
    "insert": _insert,
    "update": _update,
    "delete": _delete,
    "move workspace": _move,
    "on conflict": _on_conflict,
    "returning": _returning,
    "copy": _copy,
    "copy in": _copy_in,
    "truncate": _truncate,
    "foreign key": _foreign_key,
    "unique key": _unique,
    "partition direct": _partition,
    "view": _view,
}


def try_table(
    stage: Stage, bench: Bench, table: Table, actors: Iterable[Actor], probes: Iterable[str] = PROBES
) -> Iterator[Cell]:
    """Every cell of the table, as it becomes known. None without a policy class, which says what to expect, or rows."""
    if table.policy_class is None or table.name in bench.seeds.unfilled:
        return
    for actor in actors:
        with stage.acting(actor):
            for probe in probes:
                steps = PROBES[probe](table, bench, actor)
                if isinstance(steps, str):
                    yield Cell(table.name, probe, actor.name, Verdict.NOT_APPLICABLE, steps)
                    continue
                for step in steps:
                    verdict, detail = _judge(table, bench, actor, step, stage.attempt(step.sql))
                    yield Cell(table.name, probe, actor.name, verdict, detail)


def _judge(table: Table, bench: Bench, actor: Actor, step: Step, got: Outcome) -> tuple[Verdict, str]:
    if table.name in READ_BY_ALL and step.needs == ("select",) and got.worked:
        return Verdict.HOLDS, f"{READ_BY_ALL[table.name]}"
    allowed = (
        bool(step.needs)
        and actor.may_act
        and all(bench.oracle.allows(table, command, actor.rank) for command in step.needs)
    )
    verdict = _allowed(step, got) if allowed else _denied(step, got, closed=actor.closed)
    detail = f"{got}" if verdict is Verdict.HOLDS else f"{got}, as {actor.door}: {step.sql[:300]}"
    return verdict, detail


def _allowed(step: Step, got: Outcome) -> Verdict:
    if step.instead:
        if got.worked:
            return Verdict.LEAK
        return Verdict.HOLDS if got.state in step.instead else Verdict.TOO_TIGHT
    if not got.worked:
        if got.state == _UNIQUE and got.state not in step.also_fine:
            return Verdict.LEAK
        return Verdict.HOLDS if got.state in step.also_fine else Verdict.TOO_TIGHT
    if got.count == step.rows:
        return Verdict.HOLDS
    return Verdict.LEAK if got.count > step.rows else Verdict.TOO_TIGHT


def _denied(step: Step, got: Outcome, *, closed: bool) -> Verdict:
    if got.is_refused or got.message.startswith("COPY FROM not supported with row-level security"):
        return Verdict.HOLDS
    return Verdict.HOLDS if got.worked and not got.count and not step.loud and not closed else Verdict.LEAK
