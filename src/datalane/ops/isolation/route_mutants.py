"""Faults that a route could have, made one at a time in the running application: each must be noticed by a cell."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from datalane.contracts.authorization import MATRIX, Permission
from datalane.contracts.context import Context, Role
from datalane.ops.isolation.route_cells import ROLES, Examiner, Layer
from datalane.ops.isolation.route_seeds import seeds_of
from datalane.ops.isolation.route_table import Access, Route
from datalane.ops.isolation.route_world import owners_context
from datalane.ops.isolation.wire import PREDICATE, Statement, drop_predicates


@dataclass(frozen=True, slots=True)
class Unguarded:
    """Whoever asks is taken for `context`, unless `X-Workspace-Id` names another workspace."""

    context: Context


@dataclass(frozen=True, slots=True)
class Lowered:
    """The door asks for no more than `least`."""

    least: Role


@dataclass(frozen=True, slots=True)
class HeaderBelieved:
    """The workspace of `X-Workspace-Id` is believed without a look at who is its member."""


@dataclass(frozen=True, slots=True)
class RequestBelieved:
    """A `workspace_id` in query, form or body is believed instead of the context."""


@dataclass(frozen=True, slots=True)
class Telling:
    """A request that holds one of `known` ids is refused as forbidden where it should not be found."""

    known: frozenset[str]


GuardFault = Unguarded | Lowered | HeaderBelieved | RequestBelieved | Telling


class Face(Protocol):
    """The application under proof. `broken` puts a fault into the guard of one route for the time of a block."""

    @property
    def app(self) -> Any: ...

    @property
    def routes(self) -> Sequence[Route]: ...

    def broken(self, route: Route, fault: GuardFault) -> AbstractContextManager[None]: ...


@dataclass(frozen=True)
class Mutant:
    """A fault in a route. `layer` is what else is missing while it is hunted, since the layers cover for one another.

    `likely` is in the title of cells that are tried first.
    """

    route: Route
    name: str
    enter: Callable[[], AbstractContextManager[None]]
    layer: Layer = Layer.NONE
    tables: frozenset[str] = frozenset()
    likely: str = ""

    @property
    def title(self) -> str:
        return f"{self.route.name}: {self.name}"


def mutants_of(route: Route, face: Face, examiner: Examiner) -> Iterator[Mutant]:
    """All mutants of a route. Its usual answers must be known."""
    if route.access is Access.PUBLIC:
        return
    home, other = examiner.world.home, examiner.world.other

    def guard(name: str, fault: GuardFault, likely: str) -> Mutant:
        return Mutant(route, name, partial(face.broken, route, fault), likely=likely)

    yield guard("asks nobody who they are", Unguarded(owners_context(home)), "no credential")
    yield guard("believes X-Workspace-Id", HeaderBelieved(), "naming another workspace")
    if route.access is Access.ACCOUNT:
        return
    for role in ROLES[: ROLES.index(route.least or Role.VIEWER)]:
        yield guard(f"lets the role {role} in", Lowered(role), f"by {role}")
    slipped = [place for place in route.places() if not place.declared]
    reads = any(answer.opened_a_transaction for (name, _), answer in examiner.usual.items() if name == route.name)
    if reads and (not slipped or any((route.name, place) not in examiner.refused for place in slipped)):
        # A route that refuses one wherever it could stand, or looks into no workspace, answers the same, whether its
        # guard believes it or not.
        yield guard("believes a workspace_id in the request", RequestBelieved(), "what is in it")
    if any(place.declared and place.name in other.things for place in route.places()):
        yield guard(
            "says forbidden where it should say not found",
            Telling(frozenset(other.things.values())),
            "of another workspace in",
        )
    yield from _behind_the_door(route, face)
    yield from _queries(route, examiner)


def _behind_the_door(route: Route, face: Face) -> Iterator[Mutant]:
    """The service's own check, for every permission that it takes."""
    for name in sorted({seed.permission or route.permission or "" for seed in seeds_of(route)}):
        if name and MATRIX[name].least is not Role.VIEWER:
            yield Mutant(route, f"its service does not check {name}", partial(unchecked, name), Layer.DOOR)


def _queries(route: Route, examiner: Examiner) -> Iterator[Mutant]:
    """Each of its queries without the predicate, and its tables without their policies."""
    relations, wire = examiner.world.relations, examiner.asker.wire
    seen = [
        statement
        for (name, _), answer in examiner.usual.items()
        if name == route.name
        for statement in answer.statements
    ]
    bound = {one.sql: one for one in seen if one.tables & relations and PREDICATE.search(one.sql)}
    for statement in bound.values():
        name = f"a query without its workspace: {statement.title}"
        yield Mutant(route, name, partial(wire.changing, _only(statement)), Layer.POLICIES)
    tables = frozenset[str]().union(*(one.tables & relations for one in bound.values()))
    if tables:
        yield Mutant(route, f"no policy on {', '.join(sorted(tables))}", _nothing, Layer.PREDICATES, tables)


def _only(statement: Statement) -> Callable[[str], str]:
    return lambda sql: drop_predicates(sql) if sql == statement.sql else sql


@contextmanager
def unchecked(name: str) -> Iterator[None]:
    """For the time of the block, nothing in this process asks whether a role may `name`."""
    original = Permission.check

    def check(self: Permission, context: Context) -> None:
        if self.name != name:
            original(self, context)

    Permission.check = check  # type: ignore[method-assign]
    try:
        yield
    finally:
        Permission.check = original  # type: ignore[method-assign]


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@asynccontextmanager
async def without(layer: Layer, route: Route, face: Face, examiner: Examiner) -> AsyncIterator[None]:
    """Take a layer away from one route for the time of a block. Policies are opened for all routes at once."""
    if layer is Layer.DOOR:
        with face.broken(route, Lowered(Role.VIEWER)):
            yield
    elif layer is Layer.PREDICATES:
        with examiner.asker.wire.changing(drop_predicates):
            yield
    else:
        yield
