"""The proof over HTTP: every cell of every route, then every mutant of every route, in one process on one lane."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from datalane.db.database import Database
from datalane.errors import ConfigurationError
from datalane.ops.isolation.asking import asking
from datalane.ops.isolation.ledger import Ledger
from datalane.ops.isolation.route_cells import UNBOUND, Examiner, Layer, RouteCell
from datalane.ops.isolation.route_mutants import Face, Mutant, mutants_of, without
from datalane.ops.isolation.route_table import Route
from datalane.ops.isolation.route_world import make_world
from datalane.ops.isolation.wire import Wire
from datalane.settings import Settings


@dataclass(frozen=True)
class Leak:
    """A cell that did not hold, and what happened."""

    route: str
    cell: str
    fault: str


@dataclass(frozen=True)
class Kill:
    """What noticed a mutant."""

    mutant: str
    cell: str
    fault: str

    @property
    def by(self) -> str:
        """`behaviour`, or `rule` when the answer was right and only the query gave it away."""
        return "rule" if self.fault.startswith(UNBOUND) else "behaviour"


@dataclass
class RouteReport:
    """`uncovered` are routes without cells, with the reason; `survivors` mutants that nothing noticed."""

    routes: int = 0
    cells: int = 0
    leaks: list[Leak] = field(default_factory=list)
    uncovered: list[str] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    survivors: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def mutants(self) -> int:
        return len(self.kills) + len(self.survivors)

    @property
    def holds(self) -> bool:
        """A proof of nothing does not hold."""
        return bool(self.cells and self.mutants) and not (self.leaks or self.uncovered or self.survivors)

    def as_dict(self) -> dict[str, Any]:
        return {
            "routes": self.routes,
            "cells": self.cells,
            "leaks": [vars(leak) for leak in self.leaks],
            "uncovered": self.uncovered,
            "mutants": self.mutants,
            "killed": len(self.kills),
            "killed_by": dict(Counter(kill.by for kill in self.kills)),
            "survivors": self.survivors,
            "seconds": round(self.seconds, 1),
        }


@asynccontextmanager
async def examining(
    face: Face, superuser_url: str, wire: Wire, database: Database, settings: Settings
) -> AsyncIterator[Examiner]:
    """An examiner of a new world in an otherwise empty database, which is left as it is then."""
    async with Ledger.opened(superuser_url) as ledger, asking(face.app, ledger, wire) as asker:
        try:
            yield Examiner(asker, await make_world(asker, face.routes, database, settings))
        finally:
            await ledger.forget()


async def prove_routes(
    face: Face,
    superuser_url: str,
    wire: Wire,
    database: Database,
    settings: Settings,
    only: Callable[[Route], bool] = lambda route: True,
) -> RouteReport:
    """Try every cell and hunt every mutant. `database` is the application's own, opened with `open_watched`.

    Raises `DatalaneError` when no two workspaces can be made to try it on.
    """
    routes = [route for route in face.routes if only(route)]
    began, report = time.perf_counter(), RouteReport(routes=len(routes))
    async with examining(face, superuser_url, wire, database, settings) as examiner:
        proof = _Proof(face, routes, examiner, report)
        cells = [cell for route in routes for cell in proof.cells_of(route)]
        report.cells = len(cells)
        await proof.try_all(cells)
        for layer in (Layer.NONE, Layer.DOOR, Layer.PREDICATES, Layer.POLICIES):
            await proof.hunt([mutant for mutant in proof.mutants() if mutant.layer is layer], layer)
    report.seconds = time.perf_counter() - began
    return report


@dataclass
class _Proof:
    face: Face
    routes: Sequence[Route]
    examiner: Examiner
    report: RouteReport
    by_route: dict[str, list[RouteCell]] = field(default_factory=dict)

    def cells_of(self, route: Route) -> Sequence[RouteCell]:
        if route.name not in self.by_route:
            try:
                found = list(self.examiner.cells(route))
            except (ConfigurationError, LookupError) as error:
                self.report.uncovered.append(f"{route.name}: {error}")
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
                        fault = await self._attempt(cell)
                        if fault:
                            self.report.leaks.append(Leak(cell.route.name, cell.title, fault))

    async def hunt(self, mutants: Sequence[Mutant], layer: Layer) -> None:
        async with self._policies(layer):
            for mutant in mutants:
                kill = await self._hunt(mutant)
                if kill is None:
                    self.report.survivors.append(mutant.title)
                else:
                    self.report.kills.append(kill)

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
