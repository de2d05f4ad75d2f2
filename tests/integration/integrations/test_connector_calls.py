"""What rules have the lane ask of connected systems: with the credentials, once for each action, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
import pytest
from pydantic import BaseModel
from tests.integration.engine.lab import ranked
from tests.integration.engine.workers import AT_ONCE, ended, working
from tests.integration.integrations.connecting import HERE, SECRET, connect, everything_stored, look, published
from tests.unit.test_outbound_session import Seen, keeping_alive

from datalane.contracts.context import Context, Role
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.db.embedded import EmbeddedPostgres
from datalane.db.provision import Prepared
from datalane.engine.actions import ActionCall, Actions
from datalane.engine.handlers import Handlers
from datalane.engine.jobs import JobState
from datalane.engine.registration import register
from datalane.errors import DatalaneError, InvalidInput, NotFound
from datalane.integrations.connectors.calls import register_calls
from datalane.integrations.connectors.dependents import Dependents
from datalane.integrations.connectors.schemas import Connector, ConnectorTarget
from datalane.integrations.connectors.service import list_history, revoke_connector
from datalane.integrations.runtime import make_integrations
from datalane.kit.ids import uuid7
from datalane.kit.outbound import Outbound
from datalane.settings import Settings

AUTH = [{"header": "Authorization", "template": "Bearer {token}"}]


@dataclass
class System:
    """The connected system: it answers what it was told to, the last one again and again."""

    seen: Seen
    database: Database
    context: Context
    connector: Connector

    async def leave(self, call: ActionCall | None = None, depth: int = 0, **said: Any) -> UUID:
        """What a rule does: the action in a transaction of the lane's own, so deep in a chain of causes."""
        arguments = {"connector_id": str(self.connector.connector_id), "path": "/charges", **said}
        action = actions().get("connector.call")
        async with self.database.transaction(ranked(self.context, Role.SYSTEM).caused_by(None, depth)) as tx:
            left = await action.run(tx, read(arguments), call or ActionCall(uuid7(), 0, uuid7()))
        return UUID(left["job_id"])

    async def done(self, job_id: UUID, *statuses: str, outbound: Outbound = HERE) -> JobState:
        """The job after a worker was through with it."""
        handlers = Handlers()
        register_calls(handlers, self.database, outbound, Dependents(), AT_ONCE)
        async with working(self.database, handlers):
            [job] = await ended(self.database, self.context, [job_id], *statuses)
        return job

    async def history(self) -> list[tuple[str | None, bool, str | None]]:
        async with self.database.transaction(self.context) as tx:
            lines = (await list_history(tx, self.connector.connector_id)).data
        return [(line.outcome, line.counted, line.detail) for line in reversed(lines) if line.what == "called"]

    async def status(self) -> str:
        return (await look(self.database, self.context, self.connector.connector_id)).status


def actions() -> Actions:
    return make_integrations(Settings(), Actions()).actions


def read(arguments: dict[str, Any]) -> BaseModel:
    return actions().read("connector.call", arguments)


def response(status: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@asynccontextmanager
async def system(database: Database, context: Context, *answers: bytes) -> AsyncIterator[System]:
    await register(database, {}, [], list(EVENTS))
    waiting: list[bytes] = list(answers)

    async def reply(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(waiting.pop(0) if len(waiting) > 1 else waiting[0])

    async with keeping_alive(reply) as seen:
        base = f"http://127.0.0.1:{seen.port}/v1"
        yield System(seen, database, context, await connect(database, context, base_url=base, auth=AUTH))


async def test_a_call_arrives_with_its_credentials_and_the_id_of_its_job(database: Database, context: Context) -> None:
    async with system(database, context, response("201 Created", body=b'{"id": "ch_1"}')) as there:
        job_id = await there.leave(path="/charges?limit=1", body={"amount": 5})
        job = await there.done(job_id)
        told = await look(database, context, there.connector.connector_id)
        assert (told.outcome, told.outcome_of, told.detail) == ("ok", "call", "POST /charges: answered 201")
        assert await there.history() == [], "that it works as before is no news"
    [(head, body)] = there.seen.requests
    assert head.startswith("POST /v1/charges?limit=1 HTTP/1.1\r\n")
    lines = head.lower().splitlines()
    assert {f"authorization: bearer {SECRET}", f"idempotency-key: {job_id}", "content-type: application/json"} <= {
        *lines
    }
    assert (orjson.loads(body), job.attempt_count) == ({"amount": 5}, 1)


async def test_the_same_action_of_a_run_leaves_one_call(database: Database, context: Context) -> None:
    async with system(database, context, response("200 OK")) as there:
        call = ActionCall(uuid7(), 2, uuid7())
        first, again = await there.leave(call), await there.leave(call)
        assert first == again
        await there.done(first)
    assert len(there.seen.requests) == 1


async def test_at_the_limit_of_causes_the_health_of_a_connector_is_known_all_the_same(
    database: Database, context: Context
) -> None:
    async with system(database, context, response("401 Unauthorized")) as there:
        job = await there.done(await there.leave(depth=16), "failed")
        assert job.last_error_class == "credentials_rejected"
        assert await there.status() == "degraded"
    assert ("integration.degraded", {"outcome": "rejected"}) in await published(database, context)


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
async def test_credentials_that_are_rejected_degrade_the_connector_and_end_the_job(
    database: Database, context: Context, status: str
) -> None:
    async with system(database, context, response(status), response("200 OK")) as there:
        job = await there.done(await there.leave(), "failed")
        assert (job.last_error_class, job.attempt_count) == ("credentials_rejected", 1)
        assert await there.status() == "degraded"
        await there.done(await there.leave())
        assert await there.status() == "connected"
        code = status.partition(" ")[0]
        assert await there.history() == [
            ("rejected", True, f"POST /charges: answered {code}"),
            ("ok", True, "POST /charges: answered 200"),
        ]
    assert await published(database, context) == [
        ("integration.connected", {}),
        ("integration.degraded", {"outcome": "rejected"}),
        ("integration.connected", {"outcome": "ok"}),
    ]


async def test_a_system_that_is_down_is_asked_again_and_degrades_nothing(database: Database, context: Context) -> None:
    answers = (response("503 Service Unavailable"), response("502 Bad Gateway"), response("200 OK"))
    async with system(database, context, *answers) as there:
        job_id = await there.leave()
        job = await there.done(job_id)
        assert (job.attempt_count, await there.status()) == (3, "connected")
        assert [outcome for outcome, _, _ in await there.history()] == ["unreachable", "unreachable"]
    keys = {line for head, _ in there.seen.requests for line in head.splitlines() if line.startswith("idempotency-key")}
    assert keys == {f"idempotency-key: {job_id}"}


@pytest.mark.parametrize(
    ("answer", "error_class"),
    [
        (response("400 Bad Request"), "provider_error"),
        (response("302 Found", "Location: http://127.0.0.1:1/elsewhere"), "provider_error"),
        (response("410 Gone"), "provider_error"),
    ],
)
async def test_what_the_system_refuses_is_not_asked_again(
    database: Database, context: Context, answer: bytes, error_class: str
) -> None:
    async with system(database, context, answer) as there:
        job = await there.done(await there.leave(), "failed")
        assert (job.last_error_class, await there.status()) == (error_class, "connected")
    assert len(there.seen.requests) == 1


async def test_a_system_that_asks_for_a_pause_gets_it_and_no_attempt_is_spent(
    database: Database, context: Context
) -> None:
    async with system(
        database, context, response("429 Too Many Requests", "Retry-After: 1"), response("200 OK")
    ) as there:
        job = await there.done(await there.leave())
    assert (len(there.seen.requests), job.attempt_count) == (2, 1)


async def test_an_address_that_is_not_public_any_more_gets_nothing(database: Database, context: Context) -> None:
    """It was allowed when the connector was registered."""
    async with system(database, context, response("200 OK")) as there:
        job = await there.done(await there.leave(), "dead_letter", outbound=Outbound())
        assert job.last_error_class == "address_refused"
    assert there.seen.connections == []


async def test_after_its_connector_was_revoked_a_call_that_waits_is_not_made(
    database: Database, context: Context
) -> None:
    async with system(database, context, response("200 OK")) as there:
        job_id = await there.leave()
        async with database.transaction(ranked(context, Role.ADMIN)) as tx:
            await revoke_connector(tx, ConnectorTarget(connector_id=there.connector.connector_id), Dependents())
        job = await there.done(job_id, "failed")
        assert job.last_error_class == "connector_revoked"
        with pytest.raises(DatalaneError, match="revoked"):
            await there.leave()
    assert there.seen.connections == []


async def test_what_a_system_quotes_of_the_credentials_is_nowhere_stored(
    database: Database, context: Context, cluster: EmbeddedPostgres, urls: Prepared
) -> None:
    quoted = response("500 Oh", f"X-Request-Id: {SECRET}", body=f"bad token {SECRET}".encode())
    async with system(database, context, quoted) as there:
        await there.done(await there.leave(), "dead_letter")
    stored = everything_stored(cluster.url(urls.database_url.rpartition("/")[2].partition("?")[0]))
    assert "answered 500" in stored
    assert SECRET not in stored


@pytest.mark.parametrize(
    "said",
    [
        {"path": "https://evil.example/"},
        {"path": "/../admin"},
        {"path": "/%2e%2e/admin"},
        {"method": "CONNECT"},
        {"method": "post"},
        {"headers": {"X-A": "1"}},
        {"connector_id": "nothing"},
    ],
)
async def test_what_a_rule_may_not_ask_for_is_refused_when_it_is_written(said: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        read({"connector_id": str(uuid7()), "path": "/charges", **said})


async def test_a_connector_of_another_workspace_is_not_called(
    database: Database, context: Context, other_context: Context
) -> None:
    async with system(database, context, response("200 OK")) as there:
        stranger = System(there.seen, database, other_context, there.connector)
        with pytest.raises(NotFound):
            await stranger.leave()
        assert there.seen.connections == []


async def test_calls_at_once_share_no_answer(database: Database, context: Context) -> None:
    async with system(database, context, response("200 OK")) as there:
        ids: Sequence[UUID] = [await there.leave(path=f"/charges/{number}") for number in range(20)]
        handlers = Handlers()
        register_calls(handlers, database, HERE, Dependents(), AT_ONCE)
        async with working(database, handlers):
            await ended(database, context, ids)
        assert (await there.status(), await there.history()) == ("connected", [])
    asked = sorted(head.split()[1] for head, _ in there.seen.requests)
    assert asked == sorted(f"/v1/charges/{number}" for number in range(20))
