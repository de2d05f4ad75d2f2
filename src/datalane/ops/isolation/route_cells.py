"""The cells of a route: who asks for what, and what the role matrix says must happen.

| who asks                         | what must happen                                                     |
|----------------------------------|----------------------------------------------------------------------|
| nobody (no or bad credentials)   | 401, and no transaction was opened                                   |
| somebody from elsewhere          | the very answer that is given for a workspace that does not exist    |
| a role below the permission      | 403 naming it, from the door itself, so no transaction was opened    |
| a role with the permission       | success: a proof in which everything fails must not pass             |
| the owner, with a foreign id     | the very answer, and as many statements, as for an id of nothing     |

In all of them nothing of the other workspace is shown or changed. The same is asked again with one layer of the wall
taken away at a time, so that each layer is known to hold alone: `layer` says which is missing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from uuid import UUID

from datalane.contracts.authorization import MATRIX
from datalane.contracts.context import Role
from datalane.ops.isolation.asking import Answer, Asker
from datalane.ops.isolation.cells import Cell, Verdict
from datalane.ops.isolation.route_seed import Seed
from datalane.ops.isolation.route_seeds import seeds_of
from datalane.ops.isolation.route_table import Access, Call, Place, Route
from datalane.ops.isolation.route_world import HOME, MEMBER_ROLES, OTHER, Actor, World, twin

TOO_TIGHT = "too tight"
UNBOUND = "a query does not name the workspace"
ROLES = (*MEMBER_ROLES, Role.OWNER)


class Layer(StrEnum):
    """What is taken away while the cell is tried."""

    NONE = "nothing"
    DOOR = "the door's check of the role"
    PREDICATES = "the predicates of the queries"
    POLICIES = "the policies of the tables"


@dataclass(frozen=True)
class RouteCell:
    """`attempt` answers what is wrong, or nothing."""

    route: Route
    probe: str
    actor: str
    attempt: Callable[[], Awaitable[str]] = field(compare=False, repr=False)
    layer: Layer = Layer.NONE

    @property
    def title(self) -> str:
        without = "" if self.layer is Layer.NONE else f", without {self.layer}"
        return f"{self.route.name}: {self.probe}, by {self.actor}{without}"

    def outcome(self, fault: str) -> Cell:
        """What `attempt` answered, as a cell of the whole proof."""
        verdict = Verdict.TOO_TIGHT if fault.startswith(TOO_TIGHT) else Verdict.LEAK
        without = "" if self.layer is Layer.NONE else f", without {self.layer}"
        return Cell(self.route.name, f"{self.probe}{without}", self.actor, verdict if fault else Verdict.HOLDS, fault)


@dataclass(frozen=True)
class Trial:
    """A request that was made, and its answer."""

    route: Route
    seed: Seed
    actor: Actor
    layer: Layer
    call: Call
    answer: Answer

    @property
    def permission(self) -> str | None:
        return self.seed.permission or self.route.permission


SLIPPED = "another workspace slipped into"
"""How the title of a cell begins that puts a workspace where the route asks for none."""

Judge = Callable[[Trial], Awaitable[str]]


@dataclass
class Examiner:
    """Makes the cells of routes and judges answers. `usual` are the owner's answers with everything in place; `refused`
    are the places of routes that take no workspace there."""

    asker: Asker
    world: World
    usual: dict[tuple[str, str], Answer] = field(default_factory=dict)
    refused: set[tuple[str, Place]] = field(default_factory=set)
    _empty: dict[tuple[str, str, str, Layer], Answer] = field(default_factory=dict)

    def forget_empty(self) -> None:
        """Ask again what is answered for what does not exist: something has changed in the application."""
        self._empty.clear()

    def cells(self, route: Route) -> Iterator[RouteCell]:
        """Raises `ConfigurationError` for a route that no valid request can be made for."""
        seeds = seeds_of(route)
        for seed in seeds:
            seed.build(self.world, self.world.owner)
        if route.access is Access.PUBLIC:
            yield from self._public(route, seeds[0])
            return
        for seed in seeds:
            yield from self._credentials(route, seed)
            yield from self._roles(route, seed)
        yield from self._foreign(route, Layer.NONE)
        if route.access is Access.PERMISSION:
            yield from self._layers(route)

    def _public(self, route: Route, seed: Seed) -> Iterator[RouteCell]:
        """A route that answers anybody answers everybody alike; unless it is listed as such, it is an open door."""
        nobody = Actor("no credential", {}, known=False)
        if not route.may_be_public:
            yield self._cell(route, seed, nobody, self._judge_nobody)
            return
        *_, outsider = self.world.outsiders()
        for actor in (nobody, self.world.actor("malformed token"), outsider, self.world.owner):
            yield self._cell(route, seed, replace(actor, writes_to=seed.writes_to), self._judge_public)

    def _credentials(self, route: Route, seed: Seed) -> Iterator[RouteCell]:
        for actor in self.world.nobodies():
            yield self._cell(route, seed, actor, self._judge_nobody)
        for actor in self.world.outsiders():
            yield self._cell(route, seed, actor, self._judge_outsider)

    def _roles(self, route: Route, seed: Seed) -> Iterator[RouteCell]:
        least = _least(route, seed)
        for actor in self.world.roles():
            refused = actor.by_key and seed.keys == "refused"
            allowed = not refused and actor.role is not None and actor.role.rank >= least.rank
            judge = self._judge_stuck if actor.role in seed.stuck else self._judge_allowed
            yield self._cell(route, seed, actor, judge if allowed else self._judge_denied)

    def _foreign(self, route: Route, layer: Layer) -> Iterator[RouteCell]:
        """Every id of the other workspace in every place; without a layer, those that name what the place is for."""
        owner, other = self.world.owner, self.world.other
        for place in route.places():
            if place.is_cursor:
                if route.name in other.cursors:
                    yield self._foreign_cell(route, place, "cursor", other.cursors[route.name], layer)
                continue
            if not place.declared:
                yield from self._slipped(route, place, layer)
                continue
            fitting = place.name in other.things
            for name, value in other.things.items():
                if name != place.name and not _is_uuid(value):
                    continue  # no id of anything that the place could be for
                if layer is Layer.NONE or (name == place.name if fitting else name == "workspace_id"):
                    yield self._foreign_cell(route, place, name, value, layer)
        if layer is Layer.NONE:
            seed = seeds_of(route)[0]
            there = owner.within(other.workspace_id)
            foreign = Actor("owner, naming another workspace", there, closed_to=frozenset({OTHER}))
            yield self._cell(route, seed, foreign, self._judge_outsider)

    def _layers(self, route: Route) -> Iterator[RouteCell]:
        for seed in seeds_of(route):
            least = _least(route, seed)
            if least is not Role.VIEWER:
                below = ROLES[ROLES.index(least) - 1]
                yield self._cell(route, seed, self.world.actor(below.value), self._judge_denied, Layer.DOOR)
            for layer in (Layer.PREDICATES, Layer.POLICIES):
                yield self._cell(route, seed, self.world.owner, self._judge_usual, layer)
        for layer in (Layer.PREDICATES, Layer.POLICIES):
            yield from self._foreign(route, layer)
            yield self._from_the_other_side(route, layer)

    def _from_the_other_side(self, route: Route, layer: Layer) -> RouteCell:
        """A query for one row shows the first one there is: of the two owners one sees a row that is not theirs."""
        world, other = self.world.seen_from_other(), self.world.other
        headers = other.owner.headers(other.workspace_id)
        actor = Actor("owner of the other workspace, at home", headers, Role.OWNER, closed_to=frozenset({HOME}))
        seed = seeds_of(route)[0]

        async def attempt() -> str:
            return self._spill(actor, await self.asker.ask(route, seed.build(world, actor), actor.headers))

        return RouteCell(route, seed.name, actor.name, attempt, layer)

    def _cell(self, route: Route, seed: Seed, actor: Actor, judge: Judge, layer: Layer = Layer.NONE) -> RouteCell:
        async def attempt() -> str:
            call = seed.build(self.world, actor)
            answer = await self.asker.ask(route, call, actor.headers)
            faults = [await judge(Trial(route, seed, actor, layer, call, answer)), self._spill(actor, answer)]
            return "; ".join(filter(None, faults))

        return RouteCell(route, seed.name, actor.name, attempt, layer)

    def _foreign_cell(self, route: Route, place: Place, name: str, value: str, layer: Layer) -> RouteCell:
        """Compared with an id that names nothing. A foreign cursor must be refused."""
        owner = self.world.owner

        async def attempt() -> str:
            call = self._base(route, place)
            answer = await self.asker.ask(route, route.put(call, place, value), owner.headers)
            fault = self._spill(owner, answer)
            if fault or place.is_cursor:
                return fault or ("" if answer.status == 422 else f"a foreign cursor was answered with {answer}")
            key = (route.name, str(place), "", layer)
            empty = await self._ask_empty(key, route, route.put(call, place, twin(value)), owner)
            return _differ(answer, empty)

        return RouteCell(route, f"{name} of another workspace in {place}", owner.name, attempt, layer)

    def _slipped(self, route: Route, place: Place, layer: Layer) -> Iterator[RouteCell]:
        """A workspace that nobody asked for must be overlooked or refused, for what is here and for what is there."""
        owner, there = self.world.owner, str(self.world.other.workspace_id)

        async def attempt_here() -> str:
            seed = seeds_of(route)[0]
            answer = await self.asker.ask(route, route.put(seed.build(self.world, owner), place, there), owner.headers)
            usual = self.usual.get((route.name, seed.name))
            if answer.status == 422:
                self.refused.add((route.name, place))
            elif usual is not None and answer.told != usual.told:
                return f"not the usual answer: {answer}, not {usual}"
            return self._spill(owner, answer)

        async def attempt_there() -> str:
            call = seeds_of(route)[0].build(self.world.seen_from_other(), owner)
            answer = await self.asker.ask(route, route.put(call, place, there), owner.headers)
            empty = await self.asker.ask(route, route.put(call, place, twin(there)), owner.headers)
            return self._spill(owner, answer) or _differ(answer, empty)

        yield RouteCell(route, f"{SLIPPED} {place}", owner.name, attempt_here, layer)
        yield RouteCell(route, f"another workspace and what is in it in {place}", owner.name, attempt_there, layer)

    async def _ask_empty(self, key: tuple[str, str, str, Layer], route: Route, call: Call, actor: Actor) -> Answer:
        """The answer for what does not exist, asked once."""
        if key not in self._empty:
            self._empty[key] = await self.asker.ask(route, call, actor.headers)
        return self._empty[key]

    def _base(self, route: Route, place: Place) -> Call:
        """The valid request that already has something in this place, else the first."""
        calls = [seed.build(self.world, self.world.owner) for seed in seeds_of(route)]
        return next((call for call in calls if place.steps[0] in {**call.query, **call.path}), calls[0])

    async def _judge_nobody(self, trial: Trial) -> str:
        answer = trial.answer
        if answer.status != 401:
            return f"answered without a good credential: {answer}"
        if answer.opened_a_transaction:
            return "a transaction was opened before it was known who asks"
        return "rows changed" if answer.changes else ""

    async def _judge_public(self, trial: Trial) -> str:
        nobody = Actor("no credential", {}, known=False)
        first = await self._ask_empty((trial.route.name, "", "", trial.layer), trial.route, trial.call, nobody)
        if trial.seed.closed:
            inside = "" if trial.answer.status == 401 else f"somebody was let in: {trial.answer}"
            return inside or _differ(trial.answer, first)
        if not trial.answer.worked:
            return f"{TOO_TIGHT}: a valid request was refused: {trial.answer}"
        return _differ(trial.answer, first)

    async def _judge_outsider(self, trial: Trial) -> str:
        nowhere = {**trial.actor.headers, "X-Workspace-Id": twin(str(self.world.home.workspace_id))}
        empty = await self.asker.ask(trial.route, trial.call, nowhere)
        if trial.answer.status != 404:
            return f"a workspace that is not the caller's must not be found: {trial.answer}"
        return _differ(trial.answer, empty) or ("rows changed" if trial.answer.changes else "")

    async def _judge_denied(self, trial: Trial) -> str:
        answer, permission = trial.answer, trial.permission
        if trial.actor.by_key and trial.seed.keys == "refused":
            refused = answer.status in {403, 422} and not answer.changes
            return "" if refused else f"an API key did what takes a session: {answer}"
        if answer.status != 403 or f"({permission})" not in answer.text:
            return f"the role is too low for {permission}, and the answer is {answer}"
        at_the_door = permission == trial.route.permission and trial.layer is not Layer.DOOR
        if at_the_door and answer.opened_a_transaction:
            return f"the door let a role in that is too low for {permission}"
        return "rows changed" if answer.changes else ""

    async def _judge_allowed(self, trial: Trial) -> str:
        if not trial.answer.worked:
            return f"{TOO_TIGHT}: the role may, and the answer is {trial.answer}"
        if trial.actor.name != Role.OWNER.value:
            return ""
        self.usual.setdefault((trial.route.name, trial.seed.name), trial.answer)
        return self._unbound(trial.answer)

    async def _judge_stuck(self, trial: Trial) -> str:
        stuck = trial.answer.status == 409 and not trial.answer.changes
        return "" if stuck else f"the state of things forbids it, and the answer is {trial.answer}"

    async def _judge_usual(self, trial: Trial) -> str:
        usual = self.usual.get((trial.route.name, trial.seed.name))
        if usual is None or trial.answer.told == usual.told:
            return ""
        return f"not the usual answer: {trial.answer}, not {usual}"

    def _unbound(self, answer: Answer) -> str:
        """A query of a table with workspaces that does not say which one."""
        home = str(self.world.home.workspace_id)
        for statement in answer.statements:
            if statement.tables & self.world.relations and statement.workspaces != {home}:
                return f"{UNBOUND}: {statement.title}"
        return ""

    def _spill(self, actor: Actor, answer: Answer) -> str:
        """What was shown or changed of a workspace that is closed to the actor, or that the application broke."""
        if answer.status >= 500:
            return f"the application broke: {answer}"
        for space in (self.world.home, self.world.other):
            if space.word not in actor.closed_to:
                continue
            shown = answer.shows(space.ids, [space.word])
            if shown:
                return f"shows {', '.join(shown[:3])} of another workspace"
            changed = any(change.workspace_id == space.workspace_id for change in answer.changes)
            if changed and space.word not in actor.writes_to:
                return "changed rows of another workspace"
        return ""


def _is_uuid(text: str) -> bool:
    try:
        return bool(UUID(text))
    except ValueError:
        return False


def _least(route: Route, seed: Seed) -> Role:
    if seed.permission:
        return MATRIX[seed.permission].least
    return route.least or Role.VIEWER


def _differ(answer: Answer, empty: Answer) -> str:
    """How two answers that must be alike are told from one another."""
    if answer.told != empty.told:
        return f"told from what does not exist: {answer}, not {empty}"
    if len(answer.statements) != len(empty.statements):
        return f"{len(answer.statements)} statements, {len(empty.statements)} for what does not exist"
    return ""
