"""One valid request or more for every route: what its parameters are called says what to send.

A route that takes something of another name needs a line here, else it is uncovered and the proof fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from datalane.contracts.context import Role
from datalane.errors import ConfigurationError
from datalane.ops.isolation.access_seeds import access_seeds
from datalane.ops.isolation.agent_seeds import agent_seeds
from datalane.ops.isolation.analytics_seeds import analytics_seeds
from datalane.ops.isolation.integration_seeds import integration_seeds
from datalane.ops.isolation.route_seed import Seed
from datalane.ops.isolation.route_table import FORM, Call, Route, Where, minimal, options
from datalane.ops.isolation.route_world import (
    HOME,
    NEEDED,
    SHARED_FILE,
    SHARED_SOURCE,
    UNENDING,
    Actor,
    World,
    texts_of,
)


def _accept(world: World, actor: Actor) -> Call:
    """Everybody has an invite to a workspace that is neither of the two."""
    return Call(body={"token": world.invites[(actor.person or world.people["owner"]).email]})


def _cite(world: World, actor: Actor) -> Call:
    citation = {"chunk_id": world.home.things["chunk_id"], "confidence_score": 0.9}
    return Call(body={"segments": [{"text": f"Herons of {HOME}.", "citations": [citation]}]})


def _moderate(which: str, world: World, actor: Actor) -> Call:
    why = {"category": f"Privacy of {HOME}"} if which == "citation_id" else {}
    return Call(body={"citation_id": world.home.things[which], "reason": f"A name of {HOME}.", **why})


def _feedback(on: str, world: World, actor: Actor) -> Call:
    return Call(body={on: world.home.things[on], "rating": "up"})


def _usual_model(world: World, actor: Actor) -> Call:
    return Call(body={"model_version": world.usual_model})


def _revoke(world: World, actor: Actor) -> Call:
    """Everybody revokes a session of their own; who is nobody tries the owner's."""
    person = actor.person or world.home.owner
    return Call(
        body={"session_id": world.home.things["session_id"] if person == world.home.owner else person.session_id}
    )


def _work(name: str) -> Mapping[str, Sequence[Seed]]:
    """Projects and items: the thing that is there is in its first version, the deleted one in its second."""
    key = f"{name}_id"

    def of(world: World, **said: Any) -> Call:
        return Call(body={key: world.home.things[key], "version": 1, **said})

    def new(world: World) -> dict[str, str]:
        within = {"project_id": world.home.things["project_id"]} if name == "item" else {}
        return {"title": f"Something of {HOME}", **within}

    return {
        f"POST /{name}s/create": [Seed(lambda world, actor: Call(body=new(world)))],
        f"POST /{name}s/update": [Seed(lambda world, actor: of(world, changes={"title": f"Something else of {HOME}"}))],
        f"POST /{name}s/transition": [Seed(lambda world, actor: of(world, status="active"))],
        f"POST /{name}s/delete": [Seed(lambda world, actor: of(world))],
        f"POST /{name}s/restore": [
            Seed(lambda world, actor: Call(body={key: world.home.things[f"deleted_{key}"], "version": 2}))
        ],
        f"POST /{name}s/bulk/create": [Seed(lambda world, actor: Call(body={f"{name}s": [new(world)]}))],
        f"POST /{name}s/bulk/update": [
            Seed(lambda world, actor: Call(body={f"{name}s": [of(world, changes={"priority": 1}).body]}))
        ],
        f"POST /{name}s/bulk/transition": [
            Seed(lambda world, actor: Call(body={f"{name}s": [of(world, status="active").body]}))
        ],
    }


def _jobs() -> Mapping[str, Sequence[Seed]]:
    """By id and by a filter that matches everything: of another workspace neither may take any."""

    def chosen(which: str) -> Sequence[Seed]:
        return [
            Seed(lambda world, actor: Call(body={"ids": [world.home.things[which]]})),
            Seed(lambda world, actor: Call(body={"where": {}}), "by a filter"),
        ]

    return {
        "POST /jobs/retry": chosen("ids"),
        "POST /jobs/replay": chosen("dead_job"),
        "POST /jobs/cancel": chosen("job_id"),
        "POST /jobs/skip": [Seed(lambda world, actor: Call(body={"job_id": world.home.things["line_job"]}))],
        "POST /jobs/pause": [Seed(lambda world, actor: Call(body={"kind": HOME}))],
        "POST /jobs/resume": [Seed(lambda world, actor: Call(body={"kind": HOME}))],
    }


def _timeline(**said: str) -> Sequence[Seed]:
    """That of the workspace, and that of one thing."""

    def of_thing(world: World, actor: Actor) -> Call:
        return Call(query={**said, "entity_type": "item", "entity_id": world.home.things["item_id"]})

    return [Seed(lambda world, actor: Call(query=said)), Seed(of_thing, "of one thing")]


def _fields() -> Mapping[str, Sequence[Seed]]:
    """Fields of items: the one that is there is in its first version. The other workspace has one that is `needed`, and
    whoever sees it cannot define it here."""

    def of(world: World, **said: Any) -> Call:
        return Call(body={"field_id": world.home.things["field_id"], "version": 1, **said})

    return {
        "POST /items/fields/define": [
            Seed(lambda world, actor: Call(body={"key": NEEDED, "type": "text", "indexed": True}))
        ],
        "POST /items/fields/change": [
            Seed(lambda world, actor: of(world, changes={"required": True}), "required"),
            Seed(lambda world, actor: of(world, changes={"indexed": False}), "not indexed"),
        ],
        "POST /items/fields/rename": [Seed(lambda world, actor: of(world, new_key="another_size"))],
        "POST /items/fields/remove": [Seed(lambda world, actor: of(world))],
    }


def _views() -> Mapping[str, Sequence[Seed]]:
    """Everybody changes a view of their own, and all the shared one; both are in their first version. Whoever sees the
    other workspace finds the name in use."""

    def new(world: World, actor: Actor) -> Call:
        return Call(body={"name": NEEDED, "query": {"filters": {"status": "active"}}})

    def of(view_id: str, **said: Any) -> Call:
        return Call(body={"view_id": view_id, "version": 1, **said})

    def own(world: World, actor: Actor) -> str:
        return world.views.get(actor.name) or world.home.things["own_view_id"]

    renamed = {"changes": {"name": NEEDED}}
    return {
        "POST /items/views/create": [Seed(new)],
        "POST /items/views/update": [Seed(lambda world, actor: of(own(world, actor), **renamed))],
        "POST /items/views/delete": [Seed(lambda world, actor: of(own(world, actor)))],
        "POST /items/views/shared/create": [Seed(new)],
        "POST /items/views/shared/update": [Seed(lambda world, actor: of(world.home.things["view_id"], **renamed))],
        "POST /items/views/shared/delete": [Seed(lambda world, actor: of(world.home.things["view_id"]))],
    }


SEEDS: Mapping[str, Sequence[Seed]] = {
    **access_seeds(),
    **integration_seeds(),
    **agent_seeds(),
    **analytics_seeds(),
    **_views(),
    **_work("project"),
    **_work("item"),
    "GET /timeline/list": _timeline(),
    "GET /timeline/live": _timeline(after="beginning", **UNENDING["GET /timeline/live"]),
    **_fields(),
    "POST /embeddings/models/register": [Seed(_usual_model)],
    "POST /embeddings/models/activate": [Seed(_usual_model)],
    "POST /embeddings/models/retire": [Seed(lambda world, actor: Call(body={"model_version": world.home.model}))],
    "POST /auth/sign-up": [
        Seed(
            lambda world, actor: Call(
                body={"email": "new@example.com", "password": "long enough to be good", "name": "New"}
            )
        )
    ],
    "POST /auth/sign-in": [
        Seed(
            lambda world, actor: Call(
                body={"email": world.people["spare"].email, "password": world.people["spare"].password}
            )
        )
    ],
    "GET /metrics": [Seed(lambda world, actor: Call(), closed=True)],
    "POST /auth/oidc/exchange": [Seed(lambda world, actor: Call(body={"id_token": "of.no.issuer"}), closed=True)],
    "POST /auth/sign-out": [Seed(lambda world, actor: Call(), keys="refused")],
    "POST /auth/refresh": [
        Seed(lambda world, actor: Call(body={"refresh_token": world.people["spare"].refresh_token}))
    ],
    "POST /auth/sign-out-everywhere": [Seed(lambda world, actor: Call(), keys="refused")],
    "GET /auth/sessions/list": [Seed(lambda world, actor: Call(), keys="refused")],
    "POST /auth/sessions/revoke": [Seed(_revoke, keys="refused")],
    "POST /workspaces/create": [Seed(lambda world, actor: Call(body={"name": HOME}), keys="refused")],
    # Another one would be refused: texts are there.
    "POST /workspaces/search-language/set": [Seed(lambda world, actor: Call(body={"search_language": "english"}))],
    "POST /workspaces/ownership/transfer": [
        Seed(lambda world, actor: Call(body={"user_id": world.home.things["user_id"]}), keys="refused")
    ],
    "POST /workspaces/invites/create": [
        Seed(lambda world, actor: Call(body={"email": world.people["spare"].email, "role": "viewer"}))
    ],
    "POST /workspaces/invites/accept": [Seed(_accept, keys="refused")],
    "POST /workspaces/members/change": [
        Seed(lambda world, actor: Call(body={"user_id": world.home.things["user_id"], "role": "member"}))
    ],
    "POST /workspaces/members/leave": [
        Seed(lambda world, actor: Call(), keys="refused", stuck=frozenset({Role.OWNER}))
    ],
    "POST /documents/upload": [Seed(lambda world, actor: Call(form={"title": HOME}, file=SHARED_FILE))],
    "POST /documents/push": [
        Seed(lambda world, actor: Call(form={"title": HOME, "source_uri": SHARED_SOURCE}, file=SHARED_FILE))
    ],
    "POST /documents/withdraw": [Seed(lambda world, actor: Call(body={"source_uri": SHARED_SOURCE}))],
    "POST /documents/fetch": [Seed(lambda world, actor: Call(body={"url": world.source_url}))],
    "POST /retrieval/citations": [Seed(_cite)],
    "POST /retrieval/citations/suppress": [Seed(partial(_moderate, "citation_id"))],
    "POST /retrieval/citations/restore": [Seed(partial(_moderate, "suppressed_id"))],
    **_jobs(),
    "POST /feedback/give": [
        Seed(partial(_feedback, "response_id"), "on a response"),
        Seed(partial(_feedback, "citation_id"), "on a citation"),
        Seed(partial(_feedback, "chunk_id"), "on a chunk"),
    ],
    "GET /retrieval/citations": [
        Seed(lambda world, actor: Call(query={"response_id": world.home.things["response_id"]}), "of a response"),
        Seed(lambda world, actor: Call(query={"citation_id": world.home.things["citation_id"]}), "one"),
    ],
}


def seeds_of(route: Route) -> Sequence[Seed]:
    return SEEDS.get(route.name) or [Seed(lambda world, actor: from_schema(route, world))]


def from_schema(route: Route, world: World) -> Call:
    """A request with what is required and nothing else. Raises `ConfigurationError` naming what has no value."""
    known: dict[str, Any] = {**texts_of(HOME), **world.home.things}
    taken: dict[Where, dict[str, str]] = {Where.PATH: {}, Where.QUERY: {}}
    for parameter in route.parameters:
        if parameter.get("required"):
            name = parameter["name"]
            value = minimal(parameter.get("schema", {}), known, f"{parameter['in']} {name}", name)
            taken[Where(parameter["in"])][name] = str(value)
    body = minimal(route.body, known) if route.body is not None else None
    if route.form is not None:
        raise ConfigurationError(f"no seed says what to send as {FORM}")
    return Call(path=taken[Where.PATH], query=taken[Where.QUERY], body=body)


def takes_file(route: Route) -> bool:
    shape = next(options(route.form or {}), {})
    return any("contentMediaType" in one for one in shape.get("properties", {}).values())
