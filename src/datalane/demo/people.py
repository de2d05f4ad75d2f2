"""Two people who know nothing of one another, each with a workspace."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from uuid import UUID

from datalane.contracts.context import Context, Role
from datalane.identity.accounts import sign_up
from datalane.identity.schemas import NewAccount
from datalane.kit.ids import new_correlation_id
from datalane.lane import Lane


@dataclass(frozen=True, slots=True)
class Person:
    """The owner of a workspace, signed in."""

    user_id: UUID
    workspace_id: UUID
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def context(self) -> Context:
        return Context(self.workspace_id, self.user_id, Role.OWNER, auth_method="session")


async def make_person(lane: Lane, name: str) -> Person:
    """A new account under an address of its own; nobody needs its password again."""
    account = NewAccount(
        email=f"{name}-{secrets.token_hex(6)}@example.com",
        password=secrets.token_urlsafe(24),
        name=name.capitalize(),
        workspace_name=f"Demo of {name}",
    )
    session = await sign_up(
        lane.database, account, sessions=lane.settings.sessions, correlation_id=new_correlation_id()
    )
    assert session.workspace_id is not None
    return Person(session.user_id, session.workspace_id, session.token)
