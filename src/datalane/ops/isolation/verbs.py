"""The cells of the verbs: what each actor reaches by calling them, with its own ids and with the other workspace's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from datalane.ops.isolation.actors import NO_CONTEXT, Actor, Stage
from datalane.ops.isolation.arguments import Stock
from datalane.ops.isolation.catalog import Catalog, Table, Verb
from datalane.ops.isolation.cells import Cell, Cells, Verdict
from datalane.ops.isolation.oracle import LOGIN_LOOKS_UP, Oracle
from datalane.ops.isolation.session import Outcome
from datalane.ops.isolation.values import MINE, THEIRS

PROBE = "verb"
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_RANK = "DL403"
_OWN_CALLS = 40
_DIGEST = "digest"


@dataclass(frozen=True)
class VerbBench:
    catalog: Catalog
    stock: Stock
    oracle: Oracle

    @cached_property
    def digest(self) -> str:
        """A query that answers a digest of the other workspace's rows for each table."""
        workspace = self.stock.seeds.workspace(THEIRS)
        parts = [
            f"SELECT '{table.name}' AS name, md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) AS digest "
            f"FROM {table.sql} AS t WHERE workspace_id = '{workspace}'"
            for table in self.catalog.tables
            if table.has_workspace
        ]
        return f"SELECT json_object_agg(name, digest) FROM ({' UNION ALL '.join(parts)}) AS each"


@dataclass
class Digest:
    """The other workspace's rows as they should be."""

    query: str
    rows: Mapping[str, str]

    @classmethod
    def prepared(cls, stage: Stage, bench: VerbBench) -> Digest:
        stage.session.forget_prepared(_DIGEST)
        return cls(bench.digest, stage.session.read_prepared(_DIGEST, bench.digest))

    def changes(self, stage: Stage) -> list[str]:
        now = stage.session.read_prepared(_DIGEST, self.query)
        return sorted(table for table, digest in self.rows.items() if now.get(table) != digest)


def try_verb(stage: Stage, bench: VerbBench, digest: Digest, verb: Verb, actors: Iterable[Actor]) -> Iterator[Cell]:
    """Every cell of the verb, as it becomes known. The stage must be one of a superuser, who sees what changed."""
    if not verb.definer:
        for actor in actors:
            why = "it runs with its caller's rights, so the cells of the tables tell what it can do"
            yield Cell(verb.name, PROBE, actor.name, Verdict.NOT_APPLICABLE, why)
        return
    least = bench.oracle.least_caller(verb)
    for actor in actors:
        with stage.acting(actor):
            if least is None:
                verdict, detail = _not_for_tenants(stage, bench, verb, actor)
            elif actor.name == NO_CONTEXT:
                verdict, detail = _without_context(stage, bench, verb, actor)
            else:
                verdict, detail = _in_context(stage, bench, digest, verb, actor, least.rank)
        yield Cell(verb.name, PROBE, actor.name, verdict, detail)


def _not_for_tenants(stage: Stage, bench: VerbBench, verb: Verb, actor: Actor) -> tuple[Verdict, str]:
    if actor.closed and (actor.door in verb.callers or verb.name in LOGIN_LOOKS_UP):
        return Verdict.NOT_APPLICABLE, f"it is a verb of {actor.door}, which acts for no tenant"
    got = stage.attempt(next(bench.stock.calls(verb, MINE)).sql)
    if _is_closed(got):
        return Verdict.HOLDS, str(got)
    return Verdict.LEAK, f"no line of the role matrix names it, yet {actor.door} may call it: {got}"


def _without_context(stage: Stage, bench: VerbBench, verb: Verb, actor: Actor) -> tuple[Verdict, str]:
    got = stage.attempt(next(bench.stock.calls(verb, MINE)).sql)
    holds = _is_closed(got) if actor.closed else got.state == _RANK
    return (Verdict.HOLDS, str(got)) if holds else (Verdict.LEAK, f"called as {actor.door} without a door: {got}")


def _in_context(
    stage: Stage, bench: VerbBench, digest: Digest, verb: Verb, actor: Actor, needed: int
) -> tuple[Verdict, str]:
    """Its own ids where the actor goes for its own; the other workspace's always."""
    calls = [*islice(bench.stock.calls(verb, MINE), _OWN_CALLS)] if actor.goes_for == MINE else []
    own = len(calls)
    calls += bench.stock.calls(verb, THEIRS)
    let_through, twins = 0, dict[str, tuple[str, str]]()
    for number, call in enumerate(calls):
        got = stage.keep(call.sql)
        if _is_closed(got):
            return _expected(actor, needed, False), f"{actor.door} may not call it"
        let_through += got.state != _RANK
        if actor.rank < needed and got.state != _RANK:
            return Verdict.LEAK, f"a {actor.name} was let through: {got}: {call.sql[:300]}"
        if told := bench.stock.foreign(got.rows):
            return Verdict.LEAK, f"it told {sorted(told)[0]} of the other workspace: {call.sql[:300]}"
        if number >= own and call.twin is not None:
            if call.twin not in twins:
                twins[call.twin] = _told(stage.keep(call.twin))
            if twins[call.twin] != _told(got):
                return (
                    Verdict.LEAK,
                    f"it told an id of the other workspace from one of nothing: {got}: {call.sql[:300]}",
                )
        if number + 1 == own and not let_through and actor.rank >= needed:
            return Verdict.TOO_TIGHT, f"{got}: {call.sql[:300]}"
    if let_through:
        stage.step_back()
        if changed := digest.changes(stage):
            return Verdict.LEAK, f"it changed rows of the other workspace in {', '.join(changed)}"
    return _expected(actor, needed, bool(let_through)), f"{len(calls)} calls, {let_through} let through"


def _is_closed(got: Outcome) -> bool:
    """Whether the verb could not even be called."""
    return got.is_refused and "permission denied for function" in got.message


def _told(got: Outcome) -> tuple[str, str]:
    """What an answer tells apart from its rows: its state and message, ids left out."""
    return got.state, _ID.sub("…", got.message)


def _expected(actor: Actor, needed: int, let_through: bool) -> Verdict:
    if actor.rank >= needed:
        return Verdict.HOLDS if let_through else Verdict.TOO_TIGHT
    return Verdict.LEAK if let_through else Verdict.HOLDS


def cells_of_tables(
    catalog: Catalog, tables: Iterable[Table], verbs: Cells, oracle: Oracle, actors: Iterable[str]
) -> Iterator[Cell]:
    """For each table the gravest outcome of the verbs that reach it."""
    actors = list(actors)
    for table in tables:
        if table.policy_class is None:
            continue
        reaching = sorted(
            {verb.name for verb in catalog.verbs if oracle.least_caller(verb) and table.name in catalog.reach[verb.oid]}
        )
        for actor in actors:
            found = [cell for name in reaching if (cell := verbs.get((name, PROBE, actor)))]
            if not found:
                yield Cell(table.name, PROBE, actor, Verdict.NOT_APPLICABLE, "no verb of tenants reaches it")
                continue
            worst = max(found, key=lambda cell: list(Verdict).index(cell.verdict))
            detail = f"{worst.subject}: {worst.detail}" if worst.is_fault else f"by {len(found)} verbs"
            yield Cell(table.name, PROBE, actor, worst.verdict, detail)
