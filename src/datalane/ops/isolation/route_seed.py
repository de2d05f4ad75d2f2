"""A request to a route, as the world of the proof makes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from datalane.contracts.context import Role
from datalane.ops.isolation.route_table import Call
from datalane.ops.isolation.route_world import Actor, World

Build = Callable[[World, Actor], Call]


@dataclass(frozen=True)
class Seed:
    """A way to call a route. `permission` is narrower than the route's own where a service asks for more. `keys` says
    how an API key fares: as its role, or refused whatever its role. For `stuck` roles the state of things forbids, with
    409, what their permission allows. A `closed` public route refuses everybody here, because what it takes comes from
    outside. What a public route takes may hold what lets anybody leave something in the workspaces `writes_to`, as a
    signature does."""

    build: Build
    name: str = "request"
    permission: str | None = None
    keys: Literal["by role", "refused"] = "by role"
    stuck: frozenset[Role] = frozenset()
    closed: bool = False
    writes_to: frozenset[str] = frozenset()
