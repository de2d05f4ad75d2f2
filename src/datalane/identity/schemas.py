"""What identity takes and gives."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from datalane.contracts.context import Role
from datalane.contracts.http import ONE_TIME_SECRET
from datalane.contracts.storable import Moment

Email = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        to_lower=True,
        min_length=3,
        max_length=254,
        pattern=r"^[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+$",
    ),
]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Password = Annotated[str, StringConstraints(min_length=1, max_length=1_000)]
AssignableRole = Literal["viewer", "member", "admin", "owner"]
MembershipStatus = Literal["invited", "active", "suspended", "removed"]
InviteStatus = Literal["open", "accepted", "revoked", "expired"]
Scope = Annotated[str, StringConstraints(max_length=100, pattern=r"^[a-z_]+(\.[a-z_]+)*\.([a-z_]+|\*)$")]


class Body(BaseModel):
    """A request body: a field that is not declared is an error, not a typo that passes in silence."""

    model_config = ConfigDict(extra="forbid")


InviteText = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class NewAccount(Body):
    """An account to make. `invite`, when given, is accepted with it, or nothing is made."""

    email: Email
    password: Password
    name: Name
    workspace_name: Name | None = None
    invite: InviteText | None = Field(default=None, repr=False)


class Credentials(Body):
    email: Email
    password: Password


class Session(BaseModel):
    """A session that has begun or was refreshed. Both tokens are shown this once.

    `token` is good until `expires_at`; `refresh_token` is exchanged for two new ones, once, until
    `refresh_expires_at`.
    """

    token: str = Field(json_schema_extra=ONE_TIME_SECRET, repr=False)
    refresh_token: str = Field(json_schema_extra=ONE_TIME_SECRET, repr=False)
    session_id: UUID
    user_id: UUID
    workspace_id: UUID | None
    expires_at: datetime
    refresh_expires_at: datetime


class IdTokenExchange(Body):
    """An ID token of a configured issuer. `nonce`, when given, must be the token's; `invite` is accepted with it."""

    id_token: Annotated[str, StringConstraints(min_length=1, max_length=16_384)] = Field(repr=False)
    nonce: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None
    invite: InviteText | None = Field(default=None, repr=False)


class FederatedSession(Session):
    """The session of somebody whom an issuer vouched for, and whether the account was made just now."""

    outcome: Literal["linked_existing", "created_new"]


class Refresh(Body):
    refresh_token: Annotated[str, StringConstraints(min_length=1, max_length=200)] = Field(repr=False)


class OpenSession(BaseModel):
    """A session that can be used or refreshed. `expires_at` is its last moment unless it is refreshed again."""

    session_id: UUID
    created_at: datetime
    refreshed_at: datetime | None
    expires_at: datetime
    current: bool


class OpenSessions(BaseModel):
    data: list[OpenSession]
    page_size: int
    next_cursor: str | None


class SessionRevocation(Body):
    session_id: UUID


class EndedSessions(BaseModel):
    ended: int


class Me(BaseModel):
    """Who the caller is, and what it may do in the workspace it acts in. `scopes` narrow an API key; null does not."""

    actor_id: UUID
    auth_method: Literal["session", "api_key"]
    user_id: UUID
    email: str
    name: str
    workspace_id: UUID | None
    role: Role | None
    scopes: list[str] | None
    expires_at: datetime | None


class NewWorkspace(Body):
    name: Name


class Workspace(BaseModel):
    workspace_id: UUID
    name: str
    search_language: str
    role: Role
    created_at: datetime


class OwnedWorkspace(Workspace):
    """`role` is the caller's."""

    owner_id: UUID


class Workspaces(BaseModel):
    data: list[Workspace]


class WorkspaceName(Body):
    name: Name


class SearchLanguage(Body):
    search_language: Annotated[str, Field(pattern=r"^[a-z_]{1,63}$")]


class OwnershipTransfer(Body):
    user_id: UUID


class Ownership(BaseModel):
    """Who owns the workspace from now on; the former owner is an admin."""

    workspace_id: UUID
    owner_id: UUID
    former_owner_id: UUID
    transferred_at: datetime


class MemberChange(Body):
    user_id: UUID
    role: AssignableRole | None = None
    status: Literal["active", "suspended"] | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> MemberChange:
        if self.role is None and self.status is None:
            raise ValueError("give a role, a status or both")
        return self


class MemberRemoval(Body):
    user_id: UUID


class Membership(BaseModel):
    workspace_id: UUID
    user_id: UUID
    role: Role
    status: MembershipStatus
    created_at: datetime
    updated_at: datetime


class Member(Membership):
    email: str
    name: str


class Members(BaseModel):
    data: list[Member]
    total_count: int
    page_size: int
    next_cursor: str | None


class NewInvite(Body):
    email: Email
    role: AssignableRole


class Invite(BaseModel):
    """An address that was offered a role. Whether it has an account is not known here before it accepts."""

    invite_id: UUID
    email: str
    role: Role
    status: InviteStatus
    invited_by: UUID
    created_at: datetime
    expires_at: datetime
    accepted_at: datetime | None = None
    accepted_by: UUID | None = None
    revoked_at: datetime | None = None


class CreatedInvite(Invite):
    """A new invite. `token` is shown this once; it is null when an idempotent answer is repeated."""

    token: str | None = Field(json_schema_extra=ONE_TIME_SECRET, repr=False)


class Invites(BaseModel):
    data: list[Invite]
    page_size: int
    next_cursor: str | None


class InviteRevocation(Body):
    invite_id: UUID


class InviteAcceptance(Body):
    token: InviteText = Field(repr=False)


Scopes = Annotated[list[Scope], Field(min_length=1, max_length=100)]


class NewApiKey(Body):
    """`scopes` are names of permissions (`document.read`) or a resource with `.*`; null is all that the role may."""

    name: Name
    role: AssignableRole = "member"
    scopes: Scopes | None = None
    expires_at: Moment | None = None


class ApiKey(BaseModel):
    key_id: UUID
    name: str
    role: Role
    scopes: list[str] | None
    created_by: UUID
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class CreatedApiKey(BaseModel):
    """A new key. `key` is shown this once; it is null when an idempotent answer is repeated."""

    key: str | None = Field(json_schema_extra=ONE_TIME_SECRET, repr=False)
    key_id: UUID
    name: str
    role: Role
    scopes: list[str] | None
    created_at: datetime
    expires_at: datetime | None


class ApiKeys(BaseModel):
    data: list[ApiKey]
    page_size: int
    next_cursor: str | None


class ApiKeyRevocation(Body):
    key_id: UUID


class RevokedApiKey(BaseModel):
    key_id: UUID
    revoked_at: datetime
