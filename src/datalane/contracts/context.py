"""Who acts, where, and on behalf of what: the context that every data path carries."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from datalane.errors import InvalidInput
from datalane.kit.clock import utc_now
from datalane.kit.ids import SYSTEM_ACTOR, checked_token, new_correlation_id

DEPTH_HEADER = "datalane-causation-depth"
"""Carries the depth of an event over HTTP, from a webhook that a lane sends to one that a lane takes: a chain of causes
that leaves the lane and comes back is bounded as one inside."""


class Role(StrEnum):
    """A membership's role, or `system` for the lane's own handlers and for its operator. Ranks: see `rank`."""

    VIEWER = "viewer"
    MEMBER = "member"
    ADMIN = "admin"
    OWNER = "owner"
    SYSTEM = "system"

    @property
    def rank(self) -> int:
        """viewer 1, member 2, admin 3, owner 4, system 5; verbs of the database ask for the same numbers."""
        return _RANKS[self]


_RANKS = {Role.VIEWER: 1, Role.MEMBER: 2, Role.ADMIN: 3, Role.OWNER: 4, Role.SYSTEM: 5}


@dataclass(frozen=True, slots=True)
class Context:
    """The authenticated context of one request or job.

    `workspace_id` always comes from authentication, never from a request body. `correlation_id` ties a request to
    everything it caused; `causation_id` is the event that caused this work and `causation_depth` its depth. `scopes`
    narrow what an API key may do (`document.read`, `document.*`); None is all that the role may.
    Raises `InvalidInput` for a malformed correlation id.
    """

    workspace_id: UUID
    actor_id: UUID
    role: Role
    correlation_id: str = field(default_factory=new_correlation_id)
    session_id: UUID | None = None
    auth_method: str = "system"
    request_timestamp: datetime = field(default_factory=utc_now)
    causation_id: UUID | None = None
    causation_depth: int = 0
    scopes: frozenset[str] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.workspace_id, UUID) or not isinstance(self.actor_id, UUID):
            raise InvalidInput("workspace_id and actor_id must be UUIDs")
        checked_token(self.correlation_id, "correlation_id")
        object.__setattr__(self, "role", Role(self.role))

    @classmethod
    def system(cls, workspace_id: UUID, correlation_id: str | None = None) -> Context:
        """The lane itself, acting inside one workspace."""
        return cls(workspace_id, SYSTEM_ACTOR, Role.SYSTEM, correlation_id or new_correlation_id())

    def caused_by(self, event_id: UUID | None, depth: int) -> Context:
        return replace(self, causation_id=event_id, causation_depth=depth)
