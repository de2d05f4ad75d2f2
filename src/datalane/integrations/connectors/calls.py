"""Calls of the systems that connectors connect: the action `connector.call` and the job that does it.

A rule leaves the call as a job, so that it happens after the rule's transaction and not without it. A call runs at
least once; the job's id goes along as `Idempotency-Key`, so that the other side can take it once. The credentials are
opened for the one request, and neither they nor what was sent or answered are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from datalane.contracts.context import Context
from datalane.contracts.storable import Text
from datalane.db.database import Database
from datalane.db.transaction import Transaction
from datalane.engine.actions import Action, ActionCall
from datalane.engine.failures import JobError
from datalane.engine.handlers import Handlers, Job
from datalane.engine.jobs import enqueue
from datalane.errors import Conflict, InvalidInput, RateLimited
from datalane.integrations.connectors import journal
from datalane.integrations.connectors.addresses import join_url, plain_path
from datalane.integrations.connectors.credentials import render_auth, use_credentials
from datalane.integrations.connectors.dependents import Dependents
from datalane.integrations.connectors.health import Seen, decide
from datalane.integrations.connectors.reports import follow, standing
from datalane.integrations.connectors.schemas import Connector
from datalane.integrations.connectors.service import find, hold
from datalane.integrations.permissions import MANAGE_CONNECTORS, READ_CONNECTORS
from datalane.kit.clock import utc_now
from datalane.kit.outbound import Answer, FetchFailed, FetchRefused, Method, Outbound
from datalane.kit.retry import RetryPolicy

KIND = "connector.call"
TIMEOUT = timedelta(seconds=15)
"""Of one call, its answer included."""
_RETRY = RetryPolicy(base=timedelta(seconds=5))
LONGEST_PAUSE = timedelta(hours=1)
_READ = 2_048
"""Bytes of an answer that are read and thrown away, so that its connection ends well."""


class ConnectorCall(BaseModel):
    """A request to the connected system. `path` goes behind the connector's `base_url`, and may have a query."""

    model_config = ConfigDict(extra="forbid")

    connector_id: UUID
    method: Method = "POST"
    path: Annotated[Text, Field(min_length=1, max_length=1_000), AfterValidator(plain_path)]
    body: Any = None


class ConnectorRevoked(Conflict):
    """Another attempt does not help."""

    code = "connector_revoked"
    retryable = False


@dataclass(frozen=True, slots=True)
class _Request:
    method: Method
    url: str
    headers: dict[str, str]
    content: bytes | None


def call_action() -> Action:
    return Action(
        KIND,
        "Sends a request to a connected system, with its credentials.",
        ConnectorCall,
        MANAGE_CONNECTORS,
        leave_call,
    )


async def leave_call(tx: Transaction, said: ConnectorCall, call: ActionCall) -> dict[str, Any]:
    """Leave the call as a job; the same action of the same run leaves one. Raises `NotFound`, `Conflict`,
    `InvalidInput`."""
    READ_CONNECTORS.check(tx.context)
    _check_callable(await find(tx, said.connector_id), said.path)
    left = await enqueue(
        tx,
        KIND,
        said.model_dump(mode="json"),
        subject_id=str(said.connector_id),
        idempotency_key=f"{KIND}:{call.idempotency_key}",
    )
    return {"job_id": str(left.job_id)}


def register_calls(
    handlers: Handlers, database: Database, outbound: Outbound, dependents: Dependents, retry: RetryPolicy = _RETRY
) -> None:
    """The handler of the jobs that actions left."""

    @handlers.external(KIND, timeout=TIMEOUT * 2, retry=retry)
    async def call(job: Job) -> None:
        await call_connector(database, outbound, dependents, job)


async def call_connector(database: Database, outbound: Outbound, dependents: Dependents, job: Job) -> None:
    """Do one call. Raises what decides whether it is tried again; no message holds anything that was sent. `LookupBusy`
    says nothing of the connector: the job waits."""
    said = ConnectorCall.model_validate(job.args)
    async with database.transaction(job.context) as tx:
        request, begun = await _prepare(tx, said, job), utc_now()
    try:
        async with outbound.session() as session:
            answer = await session.send(
                *(request.method, request.url, request.headers, request.content, TIMEOUT, _READ), whose=job.workspace_id
            )
    except (FetchFailed, FetchRefused) as error:
        await _note(database, job, said, dependents, begun, "unreachable", error.reason)
        raise JobError(error.reason, str(error), retryable=error.reason not in {"bad_url", "bad_header"}) from None
    outcome = outcome_of(answer.status)
    await _note(database, job, said, dependents, begun, outcome, f"answered {answer.status}")
    _raise_for(answer)


def outcome_of(status: int) -> str:
    """What an answer says of the connector: `refused` and `unreachable` do not move it."""
    if 200 <= status < 300:
        return "ok"
    if status in {401, 403}:
        return "rejected"
    return "unreachable" if status >= 500 or status == 408 else "refused"


def _raise_for(answer: Answer) -> None:
    status, outcome = answer.status, outcome_of(answer.status)
    if outcome == "ok":
        return
    said = f"the connected system answered {status}"
    if status == 429:
        raise RateLimited(said, _pause(answer.headers.get("retry-after")).total_seconds())
    if outcome == "rejected":
        raise JobError("credentials_rejected", said, retryable=False)
    raise JobError("provider_error", said, retryable=outcome == "unreachable")


def _pause(asked: str | None) -> timedelta:
    """How long the other side wants to be left alone, within bounds; a date is not read."""
    seconds = int(asked) if asked is not None and asked.isascii() and asked.isdigit() and len(asked) < 10 else 30
    return min(timedelta(seconds=max(1, seconds)), LONGEST_PAUSE)


async def _prepare(tx: Transaction, said: ConnectorCall, job: Job) -> _Request:
    connector = await find(tx, said.connector_id)
    url = _check_callable(connector, said.path)
    headers = render_auth(connector.auth, await use_credentials(tx, connector.connector_id))
    headers |= {"idempotency-key": str(job.id), "accept": "application/json"}
    content = None
    if said.body is not None:
        headers["content-type"] = "application/json"
        content = orjson.dumps(said.body)
    return _Request(said.method, url, headers, content)


def _check_callable(connector: Connector, path: str) -> str:
    if connector.status == "revoked":
        raise ConnectorRevoked("the connector is revoked; nothing is sent with it any more")
    if connector.base_url is None:
        raise InvalidInput("the connector has no base_url that could be called")
    return join_url(connector.base_url, path)


def _within_limit(tx: Transaction) -> Context:
    """At the limit of causes what is told of a connector goes no deeper; its health is known all the same."""
    return replace(tx.context, causation_depth=min(tx.context.causation_depth, tx.limits.causation_depth))


async def _note(
    database: Database,
    job: Job,
    said: ConnectorCall,
    dependents: Dependents,
    begun: datetime,
    outcome: str,
    what: str,
) -> None:
    """The call in the connector's history, unless it worked as those before it: then the history of jobs has it, and
    the connector its moment. Its word on the credentials counts as of when it began: they may have been rotated since.
    """
    now = utc_now()
    detail = f"{said.method} {said.path.partition('?')[0][:200]}: {what}"
    async with database.transaction(job.context) as tx:
        before = await hold(tx, said.connector_id)
        seen = Seen(outcome, "call", begun)
        counts = outcome in {"ok", "rejected"} and before.status != "revoked"
        decision = decide(standing(before), seen) if counts else None
        if decision is not None:
            await follow(tx.acting_as(_within_limit(tx)), before, seen, decision, dependents, detail, now)
        counted = decision is not None and decision.counted
        if outcome == "ok" and before.status == "connected":
            return
        await journal.note(
            tx,
            before.connector_id,
            "called",
            now,
            outcome=outcome,
            outcome_of="call",
            observed_at=begun,
            counted=counted,
            detail=detail,
        )
