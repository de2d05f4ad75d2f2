"""Making the world of the route proof through the application itself, and what no route makes beside it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from uuid import UUID, uuid4

from datalane.contracts.context import Role
from datalane.db.database import Database
from datalane.errors import ConfigurationError
from datalane.identity.accounts import sign_up
from datalane.identity.schemas import NewAccount
from datalane.kit.ids import new_correlation_id, uuid7
from datalane.ops.isolation.asking import Asker
from datalane.ops.isolation.route_access import add_access
from datalane.ops.isolation.route_analytics import AnalyticsMaker
from datalane.ops.isolation.route_demo_access import add_demo_access
from datalane.ops.isolation.route_maker import ids_in, read_made
from datalane.ops.isolation.route_table import Call, Route, minimal
from datalane.ops.isolation.route_world import (
    HOME,
    MEMBER_ROLES,
    NEEDED,
    OTHER,
    SEEN,
    SHARED_FILE,
    SHARED_SOURCE,
    Person,
    Space,
    World,
    texts_of,
)
from datalane.settings import Settings

_MADE = frozenset(
    {
        "/projects",
        "/items",
        "/workspaces",
        "/workspaces/invites",
        "/api-keys",
        "/items/views",
        "/items/views/shared",
        "/automation/rules",
        "/agents/prices",
        "/agents/tool-rules",
    }
)
"""What can be created and is made by a method of its own, or needs no making."""


async def make_world(asker: Asker, routes: Sequence[Route], database: Database, settings: Settings) -> World:
    """Make it through the application itself, and keep the moment. Raises `DatalaneError` when that fails."""
    people = await _people(database, settings)
    home = Space(people["owner"].workspace_id, people["owner"], HOME)
    other = Space(people["stranger"].workspace_id, people["stranger"], OTHER)
    maker = _Maker(asker, {route.name: route for route in routes})
    world = World(home, other, people, await maker.expired_session(home), database.roles.app)
    await maker.join(home, people)
    await maker.join(other, {"member": people["neighbour"]})
    home.things["user_id"] = str(people["target"].user_id)
    other.things["user_id"] = str(people["neighbour"].user_id)
    await add_demo_access(database, (home, other))
    for space in (home, other):
        await maker.fill(space, with_shared_file=space is other)
        await add_access(database, space, people["member" if space is home else "neighbour"].user_id)
        await maker.page(space)
    world.usual_model = await maker.models(home, other)
    for actor in world.roles():
        world.views[actor.name] = await maker.own_view(f"A view of {HOME} for {actor.name}", actor.headers)
    for actor in world.roles():
        if actor.person is not None:
            world.notifications[actor.name] = await maker.notification(home, actor.person)
    world.invites = await maker.invite(people)
    for space in (home, other):
        space.ids = await maker.ids(space) | set(space.things.values())
    # After the ids: whom these views belong to is nobody of the workspace that they are in.
    await maker.view_of_outsider(other, home.owner, other.things.get("view_id", ""))
    world.views["owner of another workspace"] = await maker.view_of_outsider(home, other.owner, str(uuid4()))
    other.things["notification_id"] = await maker.notifications_of_outsider(other, home.owner)
    told = await maker.notifications_of_outsider(home, other.owner)
    world.notifications["owner of another workspace"] = told
    world.relations = await asker.ledger.relations()
    await asker.ledger.settle()
    await asker.ledger.keep()
    return world


async def _people(database: Database, settings: Settings) -> dict[str, Person]:
    """Everybody gets an account with a workspace of their own, the two owners last.

    So the row of a member's own workspace comes before the one of the workspace they belong to, by age as by key: a
    query that asks for a member and does not say where finds the wrong one first, always.
    """

    async def make(name: str) -> Person:
        word = OTHER if name in {"stranger", "neighbour"} else HOME
        account = NewAccount(
            email=f"{name}.{word}@example.com", password=secrets.token_urlsafe(24), name=f"{name} of {word}"
        )
        made = await sign_up(database, account, sessions=settings.sessions, correlation_id=new_correlation_id())
        assert made.workspace_id is not None
        return Person(
            made.user_id,
            account.email,
            account.password,
            made.token,
            made.refresh_token,
            str(made.session_id),
            made.workspace_id,
        )

    members = [*map(str, MEMBER_ROLES), "suspended", "removed", "target", "spare", "neighbour"]
    owners = ["owner", "stranger"]
    made = [*await asyncio.gather(*map(make, members)), *await asyncio.gather(*map(make, owners))]
    return dict(zip([*members, *owners], made, strict=True))


class _Maker(AnalyticsMaker):
    async def fill(self, space: Space, *, with_shared_file: bool) -> None:
        things = space.things
        things["workspace_id"] = str(space.workspace_id)
        things["session_id"] = (await self.sign_in(space))["session_id"]
        texts = [f"Herons of {space.word} stand in the reeds.", f"Lighthouses of {space.word} shine far."]
        for text in texts:
            call = Call(body={"text": text, "source_title": f"About {space.word}"})
            things.update(ids_in(await self.make(space, "POST /retrieval/index-chunks", call)))
        files = [f"A file of {space.word}.".encode(), *([SHARED_FILE] if with_shared_file else [])]
        for data in files:
            title = {"title": f"Upload of {space.word}"}
            uploaded = await self.make(space, "POST /documents/upload", Call(form=title, file=data))
            things.update(ids_in(uploaded and {"job_id": uploaded["job_id"]}))
        pushed = {"title": f"Push of {space.word}", "source_uri": SHARED_SOURCE}
        await self.make(space, "POST /documents/push", Call(form=pushed, file=f"What {space.word} has of it.".encode()))
        seen = Call(body={"event_type": SEEN, "payload": {"of": space.word}, "source_system": f"The {space.word}"})
        things.update(ids_in(await self.make(space, "POST /automation/events/publish", seen)))
        offer = Call(body={"email": f"late.{space.word}@example.com", "role": "viewer"})
        things.update(ids_in(await self.make(space, "POST /workspaces/invites/create", offer)))
        await self._work(space)
        await self._views(space)
        if space.word == OTHER:
            await self._require_field(space)
        await self.add_connectors(space)
        await self.add_agents(space)
        await self._others(space)
        await self.add_webhooks(space)
        await self._evaluation(space)
        await self._jobs(space)
        await self.add_notifications(space)
        await self.add_automation(space)
        await self.add_tools(space)
        await self.add_runs(space)
        await self.add_evaluations(space)
        await self.add_budgets(space)
        await self.add_analytics(space)
        await self._cite(space)
        await self._keys(space)

    async def _work(self, space: Space) -> None:
        """A field; projects and items, two of each, and one that is deleted. Those that stand in `things` are in their
        first version."""
        field = {"key": f"{space.word}_size", "type": "text", "indexed": True}
        space.things.update(ids_in(await self.make(space, "POST /items/fields/define", Call(body=field))))
        for name in ("project", "item"):
            fields = {"title": f"A {name} of {space.word}"}
            gone, _, made = [
                ids_in(await self.make(space, f"POST /{name}s/create", Call(body=fields))) for _ in range(3)
            ]
            if gone:
                target = {f"{name}_id": gone[f"{name}_id"], "version": 1}
                await self.make(space, f"POST /{name}s/delete", Call(body=target))
                space.things.update({f"deleted_{key}": value for key, value in gone.items()})
            space.things.update(made)

    async def _views(self, space: Space) -> None:
        """One that is shared, as `view_id`, and one of the owner's own; the one of the other workspace is `NEEDED`."""
        name = NEEDED if space.word == OTHER else f"A view of {space.word}"
        shared = await self.make(space, "POST /items/views/shared/create", Call(body={"name": name, "query": {}}))
        space.things.update(ids_in(shared))
        headers = space.owner.headers(space.workspace_id)
        space.things["own_view_id"] = await self.own_view(f"A view of {space.word} for its maker", headers)

    async def models(self, home: Space, other: Space) -> str:
        """What both workspaces search by. Both have retired a model of one name, and the other one a second."""
        listed = await self.make(home, "GET /embeddings/models/list", Call())
        usual = next((model["model_version"] for model in (listed or {}).get("data", ()) if model["served"]), "")
        home.model, other.model = "owls/1", f"owls-of-{OTHER}/1"
        if usual:
            for space in (home, other):
                for version, status in ((usual, "active"), (home.model, "retired")):
                    await self._model(space, version, status)
            await self._model(other, other.model, "retired")
        return usual

    async def _model(self, space: Space, model_version: str, status: str) -> None:
        name, _, version = model_version.rpartition("/")
        await self.asker.ledger.connection.execute(
            "INSERT INTO datalane.embedding_models (workspace_id, model_version, provider, name, version, dimensions, "
            "status, created_at, updated_at, created_by_actor_id) "
            "VALUES ($1, $2, 'builtin', $3, $4, 8, $5, clock_timestamp(), clock_timestamp(), $6)",
            *(space.workspace_id, model_version, name, version, status, space.owner.user_id),
        )

    async def _jobs(self, space: Space) -> None:
        """A failed job, as routes take it among `ids`, a dead one, and a dead one that a line waits behind."""
        if "GET /jobs/list" not in self.routes:
            return
        dead = ("dead_letter", "attempts")
        for name, (status, reason) in {"ids": ("failed", None), "dead_job": dead, "line_job": dead}.items():
            space.things[name] = str(uuid7())
            line = (space.word, 0) if name == "line_job" else (None, None)
            await self.asker.ledger.connection.execute(
                "INSERT INTO datalane.jobs (workspace_id, id, kind, subject_id, status, shelf, queued_at, "
                "next_retry_at, correlation_id, actor_id, dead_letter_reason, last_error_class, order_key, order_seq) "
                "VALUES ($1, $2, $3, $3, $4, 'stopped', clock_timestamp(), clock_timestamp(), $3, $5, $6, $3, $7, $8)",
                *(space.workspace_id, UUID(space.things[name]), space.word, status, space.owner.user_id, reason, *line),
            )
        await self.asker.ledger.connection.execute(
            "INSERT INTO datalane.job_order (workspace_id, order_key, next_seq, head_seq) VALUES ($1, $2, 2, 0)",
            *(space.workspace_id, space.word),
        )

    async def _evaluation(self, space: Space) -> None:
        """Two runs of judged queries, one of them a baseline for the other, and what was learned of it."""
        if "GET /evaluations/list" not in self.routes:
            return
        for name in ("baseline_id", "run_id"):
            space.things[name] = str(uuid7())
            await self.asker.ledger.connection.execute(
                "INSERT INTO datalane.evaluation_runs (workspace_id, run_id, dataset, dataset_sha256, method, "
                "versions, queries, measures, p95_ms, created_at, actor_id) "
                "VALUES ($1, $2, $3, sha256('judged'), 'keyword', '{}', 1, '{}', 1, clock_timestamp(), $4)",
                *(space.workspace_id, UUID(space.things[name]), f"owls of {space.word}", space.owner.user_id),
            )
            await self.asker.ledger.connection.execute(
                "INSERT INTO datalane.evaluation_results (workspace_id, run_id, query_id, measures, found) "
                "VALUES ($1, $2, $3, '{}', '{}')",
                *(space.workspace_id, UUID(space.things[name]), f"owls of {space.word}"),
            )
        await self.asker.ledger.connection.execute(
            "INSERT INTO datalane.confidence_calibrations (workspace_id, calibration_id, run_id, method, "
            "embedding_model_version, scores, confidences, queries, results, calibration_error, brier_score, "
            "base_brier_score, bands, created_at, actor_id) "
            "VALUES ($1, $2, $3, 'semantic', $4, '{0}', '{0.5}', 30, 200, 0, 0, 0, '[]', clock_timestamp(), $5)",
            *(space.workspace_id, uuid7(), UUID(space.things["run_id"]), f"owls of {space.word}", space.owner.user_id),
        )

    async def own_view(self, name: str, headers: Mapping[str, str]) -> str:
        """The id of a view that only one sees; none where there are no views."""
        route = self.routes.get("POST /items/views/create")
        if route is None:
            return ""
        call = Call(body={"name": name, "query": {}})
        return str(read_made(route.name, await self.asker.send(route, call, headers))["view_id"])

    async def view_of_outsider(self, space: Space, person: Person, view_id: str) -> str:
        """A view that somebody who is in another workspace has of their own in this one: who sees their own in all
        workspaces finds it, and who is let in by mistake."""
        if view_id and "view_id" in space.things:
            await self.asker.ledger.connection.execute(
                "INSERT INTO datalane.personal_views (workspace_id, view_id, actor_id, name, query, created_at, "
                "updated_at) VALUES ($1, $2, $3, $4, '{}', clock_timestamp(), clock_timestamp())",
                *(space.workspace_id, UUID(view_id), person.user_id, NEEDED),
            )
        return view_id

    async def _others(self, space: Space) -> None:
        """One of everything else that can be created with ids and texts under known names."""
        for route in self.routes.values():
            noun = route.path.removesuffix("/create")
            if route.method != "POST" or noun == route.path or noun in _MADE or route.body is None:
                continue
            with suppress(ConfigurationError):  # its seed says what to send, and its cells that nothing is there yet
                call = Call(body=minimal(route.body, {**texts_of(space.word), **space.things}))
                space.things.update(ids_in(await self.make(space, route.name, call)))

    async def _require_field(self, space: Space) -> None:
        """Here, and nowhere else, items need a field: whoever sees this definition in another workspace makes none."""
        await self.asker.ledger.connection.execute(
            "INSERT INTO datalane.field_definitions (workspace_id, field_id, key, type, required, created_at, "
            "updated_at, created_by_actor_id, updated_by_actor_id) VALUES "
            "($1, gen_random_uuid(), $3, 'text', true, clock_timestamp(), clock_timestamp(), $2, $2)",
            *(space.workspace_id, space.owner.user_id, NEEDED),
        )

    async def invite(self, people: Mapping[str, Person]) -> dict[str, str]:
        """Invites of everybody to the workspace of somebody who is in neither of the two."""
        host, tokens = people["spare"], dict[str, str]()
        third = Space(host.workspace_id, host, HOME)
        for person in people.values():
            if person is not host:
                offer = Call(body={"email": person.email, "role": "viewer"})
                made = await self.make(third, "POST /workspaces/invites/create", offer)
                tokens[person.email] = made["token"] if made else ""
        return tokens

    async def _cite(self, space: Space) -> None:
        asked = Call(body={"query": f"herons of {space.word}"})
        found = await self.make(space, "POST /retrieval/query", asked)
        if not found:
            return
        space.things["chunk_id"] = found["data"][0]["chunk_id"]
        citation = {"chunk_id": space.things["chunk_id"], "confidence_score": 0.9}
        segment = {"text": f"Herons of {space.word}.", "citations": [citation]}
        made = await self.make(space, "POST /retrieval/citations", Call(body={"segments": [segment] * 2}))
        hidden, shown = made["citations"] if made else ({}, {})
        space.things.update(ids_in(shown), suppressed_id=hidden.get("citation_id", ""))
        why = {"citation_id": space.things["suppressed_id"], "category": f"Privacy of {space.word}"}
        await self.make(space, "POST /retrieval/citations/suppress", Call(body=why))
        said = {"citation_id": space.things["citation_id"], "rating": "down", "comment": f"Not of {space.word}."}
        space.things.update(ids_in(await self.make(space, "POST /feedback/give", Call(body=said))))
        space.things["traced_id"] = space.things["citation_id"]

    async def _keys(self, space: Space) -> None:
        """One of each role, one that is revoked and one that has expired."""
        for name in (*map(str, MEMBER_ROLES), "owner", "revoked", "expired", "spare"):
            role = name if name in set(Role) else "admin"
            made = await self.make(
                space, "POST /api-keys/create", Call(body={"name": f"{name} {space.word}", "role": role})
            )
            space.keys[name], space.things["key_id"] = made["key"], made["key_id"]
            if name == "revoked":
                await self.make(space, "POST /api-keys/revoke", Call(body={"key_id": made["key_id"]}))
            if name == "expired":
                await self.age("api_keys", "key_id", made["key_id"])
        await self.asker.ledger.connection.execute(
            # Fresh enough that using a key writes nothing for as long as the proof runs.
            "UPDATE datalane.api_keys SET last_used_at = clock_timestamp() + interval '1 day'"
        )
