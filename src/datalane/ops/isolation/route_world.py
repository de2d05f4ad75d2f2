"""Two workspaces with something of every kind in each, and everybody who may knock at the first one's door."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid4

from datalane.contracts.context import Context, Role

MEMBER_ROLES = (Role.VIEWER, Role.MEMBER, Role.ADMIN)
HOME, OTHER = "homeland", "elsewhere"
"""Words that stand in every text of the one workspace, and in none of the other's."""
UNENDING: Mapping[str, Mapping[str, str]] = {"GET /timeline/live": {"wait": "0"}}
"""Routes whose answer goes on, and what makes it end."""
ABOUT: Mapping[str, str] = {"GET /agents/rollback-report": "model_version_id", "GET /usage/ledger/list": "quota_key"}
"""Lists that are about one thing, and the name of its id or key."""
NEEDED = "needed"
"""What a field and views of the one workspace alone are called."""
SEEN = "proof.seen"
"""The event type of an application that the proof plays."""
SHARED_FILE = b"The same bytes in both workspaces."
SHARED_SOURCE = "source:shared"


@dataclass(frozen=True)
class Person:
    user_id: UUID
    email: str
    password: str
    token: str
    refresh_token: str
    session_id: str
    workspace_id: UUID

    def headers(self, workspace_id: UUID | str | None = None) -> dict[str, str]:
        within = {} if workspace_id is None else {"X-Workspace-Id": str(workspace_id)}
        return {"Authorization": f"Bearer {self.token}", **within}


@dataclass
class Space:
    """`things` are ids by the name under which routes take them, `ids` all that its rows hold."""

    workspace_id: UUID
    owner: Person
    word: str
    things: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    cursors: dict[str, str] = field(default_factory=dict)
    ids: frozenset[str] = frozenset()
    model: str = ""
    """An embedding model that this workspace has retired."""
    tool: str = ""
    """The name of a tool of its agents."""
    inbound_token: str = ""
    """The end of the path that webhooks of its connector come to."""


@dataclass(frozen=True)
class Actor:
    """Somebody who asks, in the first workspace or from outside of it.

    `role` is what they hold there, None for who holds nothing: without `known` they are nobody to the lane at all.
    """

    name: str
    headers: Mapping[str, str]
    role: Role | None = None
    known: bool = True
    by_key: bool = False
    person: Person | None = None
    closed_to: frozenset[str] = frozenset({HOME, OTHER})
    """The words of the workspaces of which this actor must see nothing."""
    writes_to: frozenset[str] = frozenset()
    """Those in which the request itself, by what it holds, may leave something all the same."""

    def within(self, workspace_id: UUID | str) -> dict[str, str]:
        return {**self.headers, "X-Workspace-Id": str(workspace_id)}


@dataclass
class World:
    home: Space
    other: Space
    people: dict[str, Person]
    expired_token: str
    app_role: str
    invites: dict[str, str] = field(default_factory=dict)
    """Tokens of invites to a third workspace, by the address they are to."""
    views: dict[str, str] = field(default_factory=dict)
    """Ids of views that belong to the roles alone, by the actor's name."""
    notifications: dict[str, str] = field(default_factory=dict)
    """Ids of what the roles alone were told, by the actor's name."""
    source_url: str = ""
    """What answers with a document, outside of the lane."""
    usual_model: str = ""
    """The embedding model that both workspaces search by."""
    relations: frozenset[str] = frozenset()
    """Tables and views whose rows belong to workspaces."""

    def seen_from_other(self) -> World:
        """The same with the other workspace's things in the place of the first one's."""
        return replace(
            self, home=replace(self.home, things=self.other.things, model=self.other.model, tool=self.other.tool)
        )

    def roles(self) -> Iterator[Actor]:
        """Members of the first workspace, and keys of it, one for each role."""
        within, inside = str(self.home.workspace_id), frozenset({OTHER})
        for role in (*MEMBER_ROLES, Role.OWNER):
            person = self.people[role.value]
            yield Actor(role.value, person.headers(within), role, person=person, closed_to=inside)
        for role in (*MEMBER_ROLES, Role.OWNER):
            yield Actor(f"{role.value} key", _bearer(self.home.keys[role.value]), role, by_key=True, closed_to=inside)

    def nobodies(self) -> Iterator[Actor]:
        """Who shows no credential that is good."""
        yield Actor("no credential", {}, known=False)
        yield Actor("malformed token", _bearer("not-a-token"), known=False)
        yield Actor("made-up token", _bearer(secrets.token_urlsafe(32)), known=False)
        yield Actor("expired session", _bearer(self.expired_token), known=False)
        yield Actor("revoked key", _bearer(self.home.keys["revoked"]), known=False)
        yield Actor("expired key", _bearer(self.home.keys["expired"]), known=False)

    def outsiders(self) -> Iterator[Actor]:
        """Who is known to the lane but holds nothing in the first workspace. Each names it in `X-Workspace-Id`."""
        within, outside = self.home.workspace_id, frozenset({HOME})
        yield Actor("suspended member", self.people["suspended"].headers(within))
        yield Actor("removed member", self.people["removed"].headers(within))
        yield Actor("owner of another workspace", self.other.owner.headers(within), closed_to=outside)
        key = {**_bearer(self.other.keys["owner"]), "X-Workspace-Id": str(within)}
        yield Actor("key of another workspace", key, closed_to=outside)

    @property
    def owner(self) -> Actor:
        return next(actor for actor in self.roles() if actor.name == Role.OWNER.value)

    def actor(self, name: str) -> Actor:
        return next(one for one in (*self.roles(), *self.nobodies(), *self.outsiders()) if one.name == name)


def twin(value: str) -> str:
    """An id that names nothing, of the same moment as `value`."""
    return value[:24] + uuid4().hex[:12]


def texts_of(word: str) -> Mapping[str, str]:
    """Values of required texts by the name of their field."""
    return {
        "name": f"Something of {word}",
        "title": f"Something of {word}",
        "text": f"Something else of {word}, for the first time.",
        "query": "herons and lighthouses",
        "role": "viewer",
    }


def create_item_of(word: str) -> Mapping[str, object]:
    """An action of a rule."""
    return {"action": "item.create", "arguments": {"title": f"Something of {word}"}}


def tool_of(word: str, name: str) -> dict[str, object]:
    """A tool as it is published."""
    return {
        "tool_name": name,
        "description": f"A tool of {word}.",
        "input_schema": {"type": "object"},
        "side_effect": "none",
    }


def rule_about_tools(word: str) -> dict[str, object]:
    """About one agent. The other workspace's is about all of them: whoever it reaches here is denied every call."""
    agent = {} if word == OTHER else {"agent": f"clerk of {word}"}
    return {"effect": "deny", "tool_pattern": "*", "reason": f"A reason of {word}.", **agent}


def signed_webhook(word: str, delivery: str = "first") -> tuple[dict[str, str], dict[str, str]]:
    """What the connected system of a workspace sends, as GitHub would: the body, and its headers."""
    body = {"of": word}
    digest = hmac.new(token_of(word).encode(), json.dumps(body, separators=(",", ":")).encode(), hashlib.sha256)
    headers = {"x-hub-signature-256": f"sha256={digest.hexdigest()}", "x-github-delivery": f"{delivery} of {word}"}
    return body, {**headers, "x-github-event": "seen"}


def token_of(word: str) -> str:
    """The credential of a workspace's connectors."""
    return f"The token of {word}"


def owners_context(space: Space) -> Context:
    return Context(space.workspace_id, space.owner.user_id, Role.OWNER)


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
