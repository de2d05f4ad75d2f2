"""Who tries: each actor is a way for the real login to open a transaction, through the lane's own door statements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from datalane.contracts.authorization import MEMBER_ROLES
from datalane.contracts.context import Context, Role
from datalane.db.door import door_statements
from datalane.db.roles import Roles
from datalane.ops.isolation.seed import Seeds
from datalane.ops.isolation.session import Outcome, Session
from datalane.ops.isolation.values import MINE, THEIRS

NO_CONTEXT, OTHER = "no context", "other workspace"
ROLES = (*MEMBER_ROLES, Role.SYSTEM)
ACTORS = (NO_CONTEXT, OTHER, *(role.value for role in ROLES))


@dataclass(frozen=True, slots=True)
class Actor:
    """`name` is the column of the cells it fills; without a context there are several doors to try.

    `rank` is 0 without a context. `goes_for` is the workspace whose rows it tries to reach. Through a `closed` door
    nothing may be reached at all, so that everything must be refused as a missing privilege.
    """

    name: str
    door: str
    opening: str
    rank: int
    goes_for: str
    closed: bool = False

    @property
    def may_act(self) -> bool:
        """Whether the rows it goes for are its own."""
        return self.rank > 0 and self.goes_for == MINE


def all_actors(seeds: Seeds, roles: Roles) -> list[Actor]:
    """The roles first, as most faults are seen by them."""

    def behind_the_door(name: str, role: Role, goes_for: str) -> Actor:
        context = Context(seeds.workspace(MINE), seeds.actor(MINE), role, "isolation-proof")
        return Actor(name, roles.app, door_statements(context, roles), role.rank, goes_for)

    def outside(role: str, *, closed: bool) -> Actor:
        step = "" if role == roles.login else f"; SET LOCAL ROLE {role}"
        return Actor(NO_CONTEXT, role, f"BEGIN{step}", 0, MINE, closed)

    return [
        *(behind_the_door(role.value, role, MINE) for role in reversed(ROLES)),
        behind_the_door(OTHER, Role.OWNER, THEIRS),
        outside(roles.app, closed=False),
        *(outside(role, closed=True) for role in (roles.login, roles.worker, roles.signin)),
    ]


class Stage:
    """Where actors act: nothing they do stays.

    On the login's own connection each actor opens a transaction. On the superuser's (`login` is given) a transaction is
    open already, with a fault in it, and the actor steps into the login inside it.
    """

    def __init__(self, session: Session, login: str | None = None) -> None:
        self.session = session
        self._login = login
        self._before = ""
        """What ends the former call: it goes with the next statement, as a round trip of its own costs as much."""

    @contextmanager
    def acting(self, actor: Actor) -> Iterator[Stage]:
        ready = "SET CONSTRAINTS ALL IMMEDIATE; SAVEPOINT attempt"
        if self._login is None:
            self.session.run(f"{actor.opening}; {ready}")
        else:
            step = actor.opening.removeprefix("BEGIN").removeprefix(";") or "SELECT"
            self.session.run(f"SAVEPOINT actor; SET LOCAL SESSION AUTHORIZATION {self._login}; {step}; {ready}")
        self._before = ""
        try:
            yield self
        finally:
            self.session.run("ROLLBACK" if self._login is None else "ROLLBACK TO SAVEPOINT actor")

    def attempt(self, sql: str) -> Outcome:
        """Do it, and learn what came of it; the next attempt begins where this one began."""
        return self.session.try_(f"ROLLBACK TO SAVEPOINT attempt; {sql}")

    def keep(self, sql: str) -> Outcome:
        """As `attempt`, but what worked stays in place for the attempts after it."""
        outcome = self.session.try_(f"{self._before}SAVEPOINT call; {sql}")
        released = "RELEASE SAVEPOINT call; "
        self._before = released if outcome.worked else f"ROLLBACK TO SAVEPOINT call; {released}"
        return outcome

    def step_back(self) -> None:
        """Become the superuser again, who sees what the actor has done."""
        self.session.run(f"{self._before}SET LOCAL SESSION AUTHORIZATION DEFAULT; RESET ROLE")
        self._before = ""
