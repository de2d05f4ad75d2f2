"""The proof over HTTP: every cell of every route, then every mutant of every route, in one process on one lane."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from datalane.contracts.context import Role
from datalane.db.database import Database
from datalane.errors import ConfigurationError
from datalane.ops.isolation.asking import asking
from datalane.ops.isolation.cells import Cell
from datalane.ops.isolation.ledger import Ledger
from datalane.ops.isolation.report import RouteReport, Uncovered
from datalane.ops.isolation.route_cells import SLIPPED, UNBOUND, Examiner, Layer, RouteCell
from datalane.ops.isolation.route_making import make_world
from datalane.ops.isolation.route_mutants import Face, Mutant, mutants_of, without
from datalane.ops.isolation.route_seeds import seeds_of
from datalane.ops.isolation.route_source import answering
from datalane.ops.isolation.route_table import Route
from datalane.ops.isolation.wire import Wire
from datalane.settings import Settings


@dataclass(frozen=True)
class Portion:
    """What is proved: everything by default.

    `only` picks routes. `every` thins out: only every n-th cell is tried, besides those that others stand on, and every
    n-th mutant is hunted. Of `hands` that share the work, this is number `hand`.
    """

    only: Callable[[Route], bool] = lambda route: True
    every: int = 1
    hand: int = 0
    hands: int = 1

    def routes(self, known: Sequence[Route]) -> list[Route]:
        return [route for route in known if self.only(route)][self.hand :: self.hands]


EVERYTHING = Portion()


@dataclass(frozen=True)
class RouteProof:
    """Outcomes of all cells, and of each mutant what noticed it."""

    routes: int
    cells: Sequence[Cell]
    uncovered: Sequence[Uncovered]
    kills: Sequence[Kill]
    survivors: Sequence[str]
    seconds: float

    @property
    def leaks(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.is_fault]

    @property
    def holds(self) -> bool:
        """A proof of nothing does not hold."""
        return bool(self.cells and self.kills) and not (self.leaks or self.uncovered or self.survivors)

    @property
    def report(self) -> RouteReport:
        """As it stands beside the proof of the database."""
        killers = Counter(kill.by for kill in self.kills)
        return RouteReport(self.routes, self.cells, self.uncovered, killers, self.survivors)


@dataclass(frozen=True)
class Kill:
    """What noticed a mutant."""

    mutant: str
    cell: str
    fault: str

    @property
    def by(self) -> str:
        """`behaviour`, or `lint` when every answer was right and only the query gave it away."""
        return "lint" if self.fault.startswith(UNBOUND) else "behaviour"


@asynccontextmanager
async def examining(
    face: Face, superuser_url: str, wire: Wire, database: Database, settings: Settings
) -> AsyncIterator[Examiner]:
    """An examiner of a new world in an otherwise empty database, which is left as it is then."""
    async with (
        Ledger.opened(superuser_url) as ledger,
        asking(face.app, ledger, wire) as asker,
        answering() as source_url,
    ):
        try:
            world = await make_world(asker, face.routes, database, settings)
            world.source_url = source_url
            yield Examiner(asker, world)
        finally:
            await ledger.forget()


async def prove_routes(
    face: Face,
    superuser_url: str,
    wire: Wire,
    database: Database,
    settings: Settings,
    portion: Portion = EVERYTHING,
) -> RouteProof:
    """Try every cell and hunt every mutant of a portion. `database` is the application's own, of `open_watched`.

    Raises `DatalaneError` when no two workspaces can be made to try it on.
    """
    routes, every, began = portion.routes(face.routes), portion.every, time.perf_counter()
    async with examining(face, superuser_url, wire, database, settings) as examiner:
        proof = _Proof(face, routes, examiner)
        cells = [cell for route in routes for cell in proof.cells_of(route)]
        await proof.try_all([cell for place, cell in enumerate(cells) if place % every == 0 or _is_needed(cell)])
        for layer in (Layer.NONE, Layer.DOOR, Layer.PREDICATES, Layer.POLICIES):
            await proof.hunt([mutant for mutant in proof.mutants()[::every] if mutant.layer is layer], layer)
    seconds = time.perf_counter() - began
    return RouteProof(len(routes), proof.cells, proof.uncovered, proof.kills, proof.survivors, seconds)


def _is_needed(cell: RouteCell) -> bool:
    """Whether it tells what the route answers to whom nothing is closed, which others are compared with; or whether the
    route refuses a workspace that it does not ask for, where believing one is no fault."""
    if cell.layer is not Layer.NONE:
        return False
    usual = cell.actor == Role.OWNER.value and any(cell.probe == seed.name for seed in seeds_of(cell.route))
    return usual or cell.probe.startswith(SLIPPED)


@dataclass
class _Proof:
    face: Face
    routes: Sequence[Route]
    examiner: Examiner
    by_route: dict[str, list[RouteCell]] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    uncovered: list[Uncovered] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    survivors: list[str] = field(default_factory=list)

    def cells_of(self, route: Route) -> Sequence[RouteCell]:
        if route.name not in self.by_route:
            try:
                found = list(self.examiner.cells(route))
            except (ConfigurationError, LookupError) as error:
                self.uncovered.append(Uncovered(route.name, str(error)))
                found = []
            self.by_route[route.name] = found
        return self.by_route[route.name]

    def mutants(self) -> list[Mutant]:
        return [
            mutant
            for route in self.routes
            if self.by_route[route.name]
            for mutant in mutants_of(route, self.face, self.examiner)
        ]

    async def try_all(self, cells: Sequence[RouteCell]) -> None:
        for layer in Layer:
            async with self._policies(layer):
                for cell in cells:
                    if cell.layer is layer:
                        self.cells.append(cell.outcome(await self._attempt(cell)))

    async def hunt(self, mutants: Sequence[Mutant], layer: Layer) -> None:
        async with self._policies(layer):
            for mutant in mutants:
                kill = await self._hunt(mutant)
                if kill is None:
                    self.survivors.append(mutant.title)
                else:
                    self.kills.append(kill)

    async def _hunt(self, mutant: Mutant) -> Kill | None:
        """With the layer away in which it hides first, then with everything in place."""
        cells = self.by_route[mutant.route.name]
        near = sorted(
            (cell for cell in cells if cell.layer is mutant.layer), key=lambda cell: mutant.likely not in cell.title
        )
        far = [cell for cell in cells if cell.layer is Layer.NONE and mutant.layer is not Layer.NONE]
        ledger = self.examiner.asker.ledger
        self.examiner.forget_empty()
        async with _opened(ledger, self.examiner.world.app_role, mutant.tables):
            with mutant.enter():
                for cell in (*near, *far):
                    fault = await self._attempt(cell)
                    if fault:
                        return Kill(mutant.title, cell.title, fault)
        return None

    async def _attempt(self, cell: RouteCell) -> str:
        async with without(cell.layer, cell.route, self.face, self.examiner):
            return await cell.attempt()

    @asynccontextmanager
    async def _policies(self, layer: Layer) -> AsyncIterator[None]:
        if layer is not Layer.POLICIES:
            yield
            return
        async with self.examiner.asker.ledger.policies_opened(self.examiner.world.app_role):
            yield


@asynccontextmanager
async def _opened(ledger: Ledger, role: str, tables: frozenset[str]) -> AsyncIterator[None]:
    if not tables:
        yield
        return
    async with ledger.policies_opened(role, tables):
        yield
