"""The whole proof on one scratch database: seed it, try everything, read the rules, put the mutants in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from datalane.errors import InvalidInput
from datalane.ops.isolation.actors import ACTORS, Actor, Stage, all_actors
from datalane.ops.isolation.arguments import take_stock
from datalane.ops.isolation.catalog import Catalog, Table, Verb
from datalane.ops.isolation.catalog_reader import read_catalog
from datalane.ops.isolation.cells import Cells
from datalane.ops.isolation.kill import Fate, Hunter
from datalane.ops.isolation.lint import verb_faults
from datalane.ops.isolation.mutants import Mutant, role_mutants, table_mutants
from datalane.ops.isolation.oracle import Oracle, stated_lines
from datalane.ops.isolation.report import Report, RouteReport, Uncovered
from datalane.ops.isolation.rules import Fault, role_faults, table_faults
from datalane.ops.isolation.scratch import Scratch
from datalane.ops.isolation.seed import seed
from datalane.ops.isolation.session import Session
from datalane.ops.isolation.tables import PROBES, Bench, try_table
from datalane.ops.isolation.verb_mutants import verb_mutants
from datalane.ops.isolation.verbs import PROBE, Digest, VerbBench, cells_of_tables, try_verb

Step = Callable[[str], AbstractContextManager[Callable[[int, int], object]]]
"""Opens a step of the work by its description; what it gives is told how much is done, of how much."""
RouteProof = Callable[[Scratch, Step], AbstractContextManager[Callable[[], RouteReport]]]
"""The proof of the routes, which a face hands in: it knows the route table. It begins with the block, on copies of
the scratch database, to which nobody is connected then; the value of the block waits for its end."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What is proved: everything by default.

    `tables`: only these and the verbs that reach them. `mutants`: so many, spread over all of them.
    """

    tables: frozenset[str] = frozenset()
    mutants: int | None = None


@contextmanager
def silent(description: str) -> Iterator[Callable[[int, int], object]]:
    yield lambda done, total: None


def prove(
    scratch: Scratch, selection: Selection | None = None, step: Step = silent, routes: RouteProof | None = None
) -> Report:
    """Prove the wall in `scratch`, which is filled with rows of two workspaces. `routes` are proved beside, on copies.

    Raises `InvalidInput` when a selected table does not exist.
    """
    selection, began = selection or Selection(), time.monotonic()
    ground = _prepare(scratch, selection)
    with ExitStack() as opened:
        told = opened.enter_context(routes(scratch, step)) if routes is not None else None
        superuser, login = (
            opened.enter_context(Session.opened(url)) for url in (scratch.superuser_url, scratch.login_url)
        )
        proof = _Proof(superuser, login, ground, selection)
        cells, faults, fates = proof.cells(step), list(proof.faults()), proof.fates(step)
        of_routes = told() if told is not None else None
    return Report(
        tables=len(proof.tables),
        verbs=len(proof.verbs),
        cells=list(cells),
        uncovered=list(proof.uncovered(cells)),
        faults=faults,
        fates=fates,
        seconds=time.monotonic() - began,
        routes=of_routes,
    )


@dataclass(frozen=True)
class _Ground:
    """What is tried, and from what. Nobody is connected to the database."""

    bench: Bench
    verb_bench: VerbBench
    actors: Sequence[Actor]
    tables: list[Table]
    verbs: list[Verb]


def _prepare(scratch: Scratch, selection: Selection) -> _Ground:
    with Session.opened(scratch.superuser_url) as superuser:
        catalog, oracle = read_catalog(superuser, scratch.roles), Oracle(stated_lines())
        chosen = _chosen(catalog, selection)
        seeds = seed(superuser, catalog, datetime.now(UTC))
        stock = take_stock(superuser, catalog, seeds)
    return _Ground(
        Bench(catalog, seeds, oracle), VerbBench(catalog, stock, oracle), all_actors(seeds, scratch.roles), *chosen
    )


@dataclass
class _Proof:
    superuser: Session
    login: Session
    ground: _Ground
    selection: Selection

    @property
    def bench(self) -> Bench:
        return self.ground.bench

    @property
    def verb_bench(self) -> VerbBench:
        return self.ground.verb_bench

    @property
    def actors(self) -> Sequence[Actor]:
        return self.ground.actors

    @property
    def tables(self) -> list[Table]:
        return self.ground.tables

    @property
    def verbs(self) -> list[Verb]:
        return self.ground.verbs

    @property
    def catalog(self) -> Catalog:
        return self.bench.catalog

    def cells(self, step: Step) -> Cells:
        """Tables as the login itself; verbs on the superuser's connection, who sees what they changed."""
        cells, stage = Cells(), Stage(self.login)
        with step("trying tables") as tell:
            for done, table in enumerate(self.tables):
                tell(done, len(self.tables))
                for cell in try_table(stage, self.bench, table, self.actors):
                    cells.add(cell)
        stage = Stage(self.superuser, self.catalog.roles.login)
        digest = Digest.prepared(stage, self.verb_bench)
        with step("trying verbs") as tell:
            for done, verb in enumerate(self.verbs):
                tell(done, len(self.verbs))
                with self._undone():
                    for cell in try_verb(stage, self.verb_bench, digest, verb, self.actors):
                        cells.add(cell)
        for cell in cells_of_tables(self.catalog, self.tables, cells, self.bench.oracle, ACTORS):
            cells.add(cell)
        return cells

    def faults(self) -> Iterator[Fault]:
        chosen = {table.name for table in self.tables}
        relations = [
            one
            for one in self.catalog.relations.values()
            if {one.name, one.parent} & chosen or (one.is_view and chosen.intersection(one.reads))
        ]
        yield from table_faults(self.catalog, self.bench.oracle, relations)
        yield from verb_faults(self.catalog, self.bench.oracle, self.verbs)
        yield from role_faults(self.catalog.roles, self.catalog.database_roles)

    def fates(self, step: Step) -> list[Fate]:
        mutants, fates = self._mutants(), []
        digest = Digest.prepared(Stage(self.superuser, self.catalog.roles.login), self.verb_bench)
        hunter = Hunter(
            self.superuser, self.bench, self.verb_bench, digest, self.actors, self.catalog.roles.login
        )  # fmt: skip
        with step("hunting mutants") as tell:
            for done, mutant in enumerate(mutants):
                tell(done, len(mutants))
                fates.append(hunter.hunt(mutant))
        return fates

    def uncovered(self, cells: Cells) -> Iterator[Uncovered]:
        """Every table and verb must have an outcome for every probe and actor."""
        for table in self.tables:
            missing = [(probe, actor) for probe in (*PROBES, PROBE) for actor in ACTORS]
            missing = [(probe, actor) for probe, actor in missing if cells.get((table.name, probe, actor)) is None]
            if missing:
                yield Uncovered(table.name, self._why(table, len(missing)))
        for verb in self.verbs:
            silent_actors = [actor for actor in ACTORS if cells.get((verb.name, PROBE, actor)) is None]
            if silent_actors:
                yield Uncovered(verb.name, f"it has no outcome for {', '.join(silent_actors)}")

    def _why(self, table: Table, missing: int) -> str:
        if table.policy_class is None:
            return "it declares no policy class, so nothing says what should happen"
        if table.name in self.bench.seeds.unfilled:
            return f"no row fits into it: {self.bench.seeds.unfilled[table.name]}"
        return f"{missing} of its cells have no outcome"

    def _mutants(self) -> list[Mutant]:
        oracle, seeds = self.bench.oracle, self.bench.seeds
        known = [*table_mutants(self.catalog, oracle), *role_mutants(self.catalog)]
        known += verb_mutants(self.catalog, oracle, seeds)
        if self.selection.tables:
            known = [one for one in known if one.subject in self.selection.tables]
        known = [one for one in known if self.catalog.is_classed(one.subject) and one.subject not in seeds.unfilled]
        known.sort(key=lambda one: one.kind)  # so that some of each kind are among a few
        most = len(known) if self.selection.mutants is None else min(self.selection.mutants, len(known))
        return [known[place * len(known) // most] for place in range(most)]

    @contextmanager
    def _undone(self) -> Iterator[None]:
        """A short transaction: one for all verbs would keep the entries of the routes' world from being settled."""
        self.superuser.run("BEGIN")
        try:
            yield
        finally:
            self.superuser.run("ROLLBACK")


def _chosen(catalog: Catalog, selection: Selection) -> tuple[list[Table], list[Verb]]:
    if not selection.tables:
        return catalog.tables, list(catalog.verbs)
    tables = [table for table in catalog.tables if table.name in selection.tables]
    unknown = selection.tables - {table.name for table in tables}
    if unknown:
        raise InvalidInput(f"there is no table {', '.join(sorted(unknown))}; write it as schema.table")
    return tables, [verb for verb in catalog.verbs if selection.tables & catalog.reach[verb.oid]]
