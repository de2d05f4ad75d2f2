"""What every part of the world of the route proof is made with: requests to its routes, and sessions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from datalane.errors import DatalaneError
from datalane.ops.isolation.asking import Answer, Asker
from datalane.ops.isolation.route_table import Access, Call, Route
from datalane.ops.isolation.route_world import (
    ABOUT,
    MEMBER_ROLES,
    UNENDING,
    Person,
    Space,
)


@dataclass
class Maker:
    asker: Asker
    routes: Mapping[str, Route]

    async def make(self, space: Space, route: str, call: Call) -> Any:
        if route not in self.routes:
            return None
        answer = await self.asker.send(self.routes[route], call, space.owner.headers(space.workspace_id))
        return read_made(route, answer)

    async def join(self, space: Space, people: Mapping[str, Person]) -> None:
        """Memberships, written as they would stand after somebody was invited, suspended or removed."""
        standings = {
            "suspended": ("member", "suspended"),
            "removed": ("member", "removed"),
            "target": ("viewer", "active"),
        }
        for name, person in people.items():
            role, status = standings.get(name, (name, "active"))
            if role in set(MEMBER_ROLES):
                await self.asker.ledger.connection.execute(
                    "INSERT INTO datalane.memberships (workspace_id, user_id, role, status, created_at, updated_at) "
                    "VALUES ($1, $2, $3, $4, clock_timestamp(), clock_timestamp())",
                    *(space.workspace_id, person.user_id, role, status),
                )

    async def page(self, space: Space) -> None:
        """The cursor after the first row of every list, and where every stream has come."""
        for route in self.routes.values():
            if route.access is not Access.PUBLIC and any(place.is_cursor for place in route.places()):
                within = {name: space.things[name] for name in route.in_path}
                about = {name: space.things[name] for name in [ABOUT.get(route.name)] if name is not None}
                asked = Call(path=within, query={"page_size": "1", **about, **UNENDING.get(route.name, {})})
                answer = await self.asker.send(route, asked, space.owner.headers(space.workspace_id))
                found = _following(route.name, answer)
                if found is not None:
                    space.cursors[route.name] = found

    async def expired_session(self, space: Space) -> str:
        """A token of a session of the owner's that has expired."""
        made = await self.sign_in(space)
        await self.age("sessions", "session_id", made["session_id"])
        return str(made["token"])

    async def sign_in(self, space: Space) -> Any:
        """One more session of the owner's."""
        credentials = {"email": space.owner.email, "password": space.owner.password}
        return await self.make(space, "POST /auth/sign-in", Call(body=credentials))

    async def age(self, table: str, column: str, key: str) -> None:
        past = "clock_timestamp() - interval"
        await self.asker.ledger.connection.execute(
            f"UPDATE datalane.{table} SET created_at = {past} '2 days', expires_at = {past} '1 day' "
            f"WHERE {column} = $1",
            UUID(key),
        )

    async def ids(self, space: Space) -> frozenset[str]:
        ledger = self.asker.ledger
        if not ledger.tables:
            await ledger.keep()
        return await ledger.ids_of(space.workspace_id)


def ids_in(made: Mapping[str, Any] | None) -> dict[str, str]:
    """The ids in an answer, by name."""
    return {name: value for name, value in (made or {}).items() if name.endswith("_id") and isinstance(value, str)}


def _following(route: str, answer: Answer) -> str | None:
    """The cursor of a page, or the id of a stream's last event."""
    if route not in UNENDING:
        found: str | None = read_made(route, answer).get("next_cursor")
        return found
    if not answer.worked:
        read_made(route, answer)
    return answer.text.rpartition("\nid: ")[2].partition("\n")[0]


def read_made(route: str, answer: Answer) -> Any:
    if not answer.worked:
        raise DatalaneError(f"the isolation proof could not make its world: {route} answered {answer}")
    return json.loads(answer.text)
