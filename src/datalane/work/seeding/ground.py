"""The ground of a seeded lane: accounts, workspaces, projects and fields. What is there already is found again."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import Conflict
from datalane.identity.accounts import sign_up
from datalane.identity.invites import create_invite
from datalane.identity.memberships import list_members
from datalane.identity.queries import queries as identity
from datalane.identity.schemas import NewAccount, NewInvite
from datalane.identity.workspaces import create_workspace_for, list_workspaces
from datalane.kit.ids import new_correlation_id
from datalane.settings import SessionSettings
from datalane.work.seeding.plan import BEGAN, FIELDS, Plan

MEMBERS = 5
PROJECTS, SMALL_PROJECTS = 50, 2
_AT_A_TIME = 50
_INVITED_FOR = timedelta(hours=1)

_queries = load_queries(__file__)


@dataclass(frozen=True, slots=True)
class Place:
    """A workspace to fill, and what its items may name. `people` are those who make items and get them assigned."""

    context: Context
    people: Sequence[UUID]
    projects: Sequence[UUID]
    fields: Sequence[UUID]


@dataclass(frozen=True, slots=True)
class Owner:
    """Who owns the large workspace. `password` is None when the account was there already."""

    user_id: UUID
    workspace_id: UUID
    email: str
    password: str | None

    @property
    def context(self) -> Context:
        return Context(self.workspace_id, self.user_id, Role.OWNER)


async def find_owner(database: Database, plan: Plan, sessions: SessionSettings) -> Owner:
    """The account of the large workspace, made when it is not there.

    Raises `Conflict` when this seed was planted with other numbers.
    """
    email = plan.email("owner")
    known = await _find(database, email)
    if known is None:
        password = secrets.token_urlsafe(12)
        account = NewAccount(email=email, password=password, name="Seed owner", workspace_name=plan.name)
        made = await sign_up(database, account, sessions=sessions, correlation_id=new_correlation_id())
        assert made.workspace_id is not None
        return Owner(made.user_id, made.workspace_id, email, password)
    async with database.sign_in_door() as tx:
        workspaces = await list_workspaces(tx, known)
    for workspace in workspaces:
        if workspace.name == plan.name:
            return Owner(known, workspace.workspace_id, email, None)
    held = ", ".join(repr(workspace.name) for workspace in workspaces[:3]) or "no workspace"
    raise Conflict(
        f"this lane holds another seed {plan.seed} already: {email} has {held}; give the same numbers as then to go on "
        "with it, or another --seed"
    )


async def lay_large(database: Database, plan: Plan, owner: Owner, sessions: SessionSettings) -> Place:
    """Members, projects and fields of the large workspace."""
    people = [owner.user_id, *[await _member(database, plan, owner, n, sessions) for n in range(1, MEMBERS + 1)]]
    place = Place(
        owner.context,
        people,
        [plan.made_id("project", n) for n in range(PROJECTS)],
        [plan.made_id("field", key) for key, _ in FIELDS],
    )
    async with database.transaction(place.context) as tx:
        await add_ground(tx, place)
    return place


async def found_small(database: Database, plan: Plan, sessions: SessionSettings) -> list[Place]:
    """The small workspaces, in their order; the missing ones are founded. One account owns them all."""
    if plan.workspaces == 0:
        return []
    owner_id = await _neighbour(database, plan, sessions)
    async with database.sign_in_door() as tx:
        known = {workspace.name: workspace.workspace_id for workspace in await list_workspaces(tx, owner_id)}
    names = [plan.small_name(index) for index in range(plan.workspaces)]
    missing = [name for name in names if name not in known]
    for start in range(0, len(missing), _AT_A_TIME):
        async with database.sign_in_door() as tx:
            for name in missing[start : start + _AT_A_TIME]:
                made = await create_workspace_for(tx, owner_id, name, new_correlation_id())
                known[name] = made.workspace_id
    return [_small_place(plan, index, known[name], owner_id) for index, name in enumerate(names)]


async def add_ground(tx: Transaction, place: Place) -> bool:
    """Projects and fields of a workspace; False when they were there."""
    titles = [f"Project {n + 1}" for n in range(len(place.projects))]
    actor_id = place.context.actor_id
    added = await _queries.add_projects(
        tx.connection,
        workspace_id=tx.workspace_id,
        project_ids=place.projects,
        titles=titles,
        actor_id=actor_id,
        at=BEGAN,
    )
    await _queries.add_fields(
        tx.connection,
        workspace_id=tx.workspace_id,
        field_ids=place.fields,
        keys=[key for key, _ in FIELDS],
        types=[kind for _, kind in FIELDS],
        actor_id=actor_id,
        at=BEGAN,
    )
    return bool(added != "INSERT 0 0")


def _small_place(plan: Plan, index: int, workspace_id: UUID, owner_id: UUID) -> Place:
    return Place(
        Context(workspace_id, owner_id, Role.OWNER),
        [owner_id],
        [plan.made_id(index, "project", n) for n in range(SMALL_PROJECTS)],
        [plan.made_id(index, "field", key) for key, _ in FIELDS],
    )


async def _member(database: Database, plan: Plan, owner: Owner, number: int, sessions: SessionSettings) -> UUID:
    """The account and its membership come together, so where one is the other is too."""
    email = plan.email(f"member-{number}")
    if await _find(database, email) is None:
        async with database.transaction(owner.context) as tx:
            invite = await create_invite(tx, NewInvite(email=email, role="member"), lifetime=_INVITED_FOR)
        account = NewAccount(
            email=email, password=secrets.token_urlsafe(24), name=f"Seed member {number}", invite=invite.token
        )
        await sign_up(database, account, sessions=sessions, correlation_id=new_correlation_id())
    async with database.transaction(owner.context) as tx:
        members = (await list_members(tx, page_size=100)).data
    for member in members:
        if member.email == email:
            return member.user_id
    raise Conflict(f"{email} has an account and is no member of the seeded workspace; take another --seed")


async def _neighbour(database: Database, plan: Plan, sessions: SessionSettings) -> UUID:
    email = plan.email("neighbour")
    known = await _find(database, email)
    if known is not None:
        return known
    account = NewAccount(email=email, password=secrets.token_urlsafe(24), name="Seed neighbour")
    made = await sign_up(database, account, sessions=sessions, correlation_id=new_correlation_id())
    return made.user_id


async def _find(database: Database, email: str) -> UUID | None:
    async with database.sign_in_door() as tx:
        known = await identity.find_login(tx.connection, email=email)
    return known["user_id"] if known else None
