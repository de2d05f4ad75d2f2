"""Making, changing and switching endpoints.

An endpoint has a row in the engine's subscriptions for each type of event that it takes, so that a publish leaves one
job for each event and endpoint in its own transaction. The rows stay while the endpoint is paused or disabled: the
jobs then put what happened aside, for its recovery.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx

from datalane.contracts.context import Role
from datalane.contracts.registry import EVENTS
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.audit import record
from datalane.engine.events import publish
from datalane.engine.vault import seal
from datalane.errors import Conflict, InvalidInput, LimitExceeded, NotFound, StaleVersion
from datalane.integrations.connectors.service import hold_connected
from datalane.integrations.notifications.notices import Notice, notify
from datalane.integrations.permissions import MANAGE_ENDPOINTS, READ_WEBHOOKS
from datalane.integrations.webhooks.endpoints.schemas import (
    EVERY_TYPE,
    NewWebhookEndpoint,
    RemovedWebhookEndpoint,
    Signing,
    StatusReason,
    WebhookEndpoint,
    WebhookEndpointChange,
    WebhookEndpointPage,
    WebhookEndpointSecret,
    WebhookSecretRotation,
)
from datalane.integrations.webhooks.endpoints.states import ENDPOINT
from datalane.integrations.webhooks.endpoints.targets import check_target
from datalane.kit.addresses import Network
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7
from datalane.kit.standard_webhooks import PrivateKey, make_private_key, make_shared_secret, read_signer

DELIVER_EVENT = "webhook.deliver"
"""The kind of the jobs that deliver, one for each event and endpoint."""
MOST_ENDPOINTS = 100
"""Of one workspace: each event may become as many deliveries."""

_queries = load_queries(__file__)


async def create_endpoint(
    tx: Transaction, new: NewWebhookEndpoint, allowed: Sequence[Network] = (), now: datetime | None = None
) -> WebhookEndpointSecret:
    """An endpoint that gets what is published from now on, with its secret, which is told nowhere else.

    Raises `InvalidInput` for a URL that is not sent to, a type that is not registered, and a connector that is not
    there or was revoked; `LimitExceeded` for one endpoint too many, `MasterKeyMissing` where no secret can be kept.
    """
    MANAGE_ENDPOINTS.check(tx.context)
    tx = tx.following()
    url, at, endpoint_id = check_target(new.url, allowed), now or utc_now(), uuid7()
    _check_types(new.event_types)
    await _hold_connector(tx, new.connector_id, "body.connector_id")
    there = await _queries.count_endpoints(tx.connection, workspace_id=tx.workspace_id)
    if there >= MOST_ENDPOINTS:
        raise LimitExceeded(f"the workspace has {there} webhook endpoints, the limit is {MOST_ENDPOINTS}")
    await _queries.add_endpoint(
        tx.connection,
        workspace_id=tx.workspace_id,
        endpoint_id=endpoint_id,
        url=url,
        description=new.description,
        signing=new.signing,
        ordered=new.ordered,
        connector_id=new.connector_id,
        now=at,
        actor_id=tx.context.actor_id,
    )
    await _take_types(tx, endpoint_id, new.event_types, new.ordered, at)
    secret = await _add_secret(tx, endpoint_id, new.signing, at)
    endpoint = await get_endpoint(tx, endpoint_id, at)
    await _record(tx, "created", endpoint_id, after=_told(endpoint))
    return WebhookEndpointSecret(endpoint=endpoint, secret=secret)


async def change_endpoint(
    tx: Transaction, change: WebhookEndpointChange, allowed: Sequence[Network] = (), now: datetime | None = None
) -> WebhookEndpoint:
    """Another URL, description, connector or other types. Deliveries under way go to the new URL with their next
    attempt.

    Raises `NotFound`, `StaleVersion` with the endpoint as it is, and as `create_endpoint`.
    """
    MANAGE_ENDPOINTS.check(tx.context)
    tx, at = tx.following(), now or utc_now()
    url = None if change.url is None else check_target(change.url, allowed)
    _check_types(change.event_types or ())
    await _hold_connector(tx, change.connector_id, "body.connector_id")
    held = await hold_endpoint(tx, change.endpoint_id)
    before = await get_endpoint(tx, change.endpoint_id, at)
    done = await _queries.change_endpoint(
        tx.connection,
        workspace_id=tx.workspace_id,
        endpoint_id=change.endpoint_id,
        version=change.version,
        url=url,
        description=change.description,
        depends="connector_id" in change.model_fields_set,
        connector_id=change.connector_id,
        now=at,
    )
    if done != "UPDATE 1":
        raise StaleVersion(f"the endpoint is at version {before.version}", {"current": before.model_dump(mode="json")})
    if change.event_types is not None and change.event_types != before.event_types:
        await _drop_types(tx, change.endpoint_id)
        await _take_types(tx, change.endpoint_id, change.event_types, held["ordered"], at)
    after = await get_endpoint(tx, change.endpoint_id, at)
    await _record(tx, "updated", change.endpoint_id, before=_told(before), after=_told(after))
    return after


async def get_endpoint(tx: Transaction, endpoint_id: UUID, now: datetime | None = None) -> WebhookEndpoint:
    """Raises `NotFound`."""
    READ_WEBHOOKS.check(tx.context)
    row = await _queries.get_endpoint(
        tx.connection, workspace_id=tx.workspace_id, endpoint_id=endpoint_id, now=now or utc_now()
    )
    if row is None:
        raise NotFound("no such webhook endpoint")
    return WebhookEndpoint(**row)


async def list_endpoints(
    tx: Transaction, cursor: str | None = None, page_size: int = 25, now: datetime | None = None
) -> WebhookEndpointPage:
    """Endpoints, the newest first. Raises `InvalidInput` for a cursor that is not this list's."""
    READ_WEBHOOKS.check(tx.context)
    before = tx.read_id_cursor("webhook_endpoints", cursor)
    rows = await _queries.list_endpoints(
        tx.connection, workspace_id=tx.workspace_id, before=before, now=now or utc_now(), page_size=page_size + 1
    )
    page, following = tx.cut_page("webhook_endpoints", rows, page_size, lambda row: [row["endpoint_id"]])
    return WebhookEndpointPage(
        data=[WebhookEndpoint(**row) for row in page], page_size=page_size, next_cursor=following
    )


async def enable_endpoint(tx: Transaction, endpoint_id: UUID, now: datetime | None = None) -> WebhookEndpoint:
    """Send what happens from now on. What was kept meanwhile waits for its recovery.

    Raises `NotFound`, `InvalidInput` while its connector is revoked, `Conflict` when it got another one meanwhile.
    """
    MANAGE_ENDPOINTS.check(tx.context)
    tx = tx.following()
    seen = (await get_endpoint(tx, endpoint_id, now)).connector_id
    await _hold_connector(tx, seen, "connector_id")
    if (await hold_endpoint(tx, endpoint_id))["connector_id"] != seen:
        raise Conflict("the endpoint changed meanwhile; look again")
    await _switch(tx, endpoint_id, "enabled", None, now or utc_now())
    return await get_endpoint(tx, endpoint_id, now)


async def disable_endpoint(tx: Transaction, endpoint_id: UUID, now: datetime | None = None) -> WebhookEndpoint:
    """Send nothing more, from the next attempt on; what happens is kept. Raises `NotFound`."""
    MANAGE_ENDPOINTS.check(tx.context)
    tx = tx.following()
    await _switch(tx, endpoint_id, "disabled", "admin", now or utc_now())
    return await get_endpoint(tx, endpoint_id, now)


async def give_up_on(tx: Transaction, endpoint_id: UUID, reason: StatusReason, now: datetime) -> bool:
    """Disable an endpoint that is gone or does nothing but fail; whether it was not disabled already."""
    MANAGE_ENDPOINTS.check(tx.context)
    return await _switch(tx, endpoint_id, "disabled", reason, now)


async def pause_for_connector(tx: Transaction, connector_id: UUID, now: datetime | None = None) -> list[UUID]:
    """Pause the endpoints that depend on a connector which was revoked, in the same transaction; their ids."""
    MANAGE_ENDPOINTS.check(tx.context)
    rows = await _queries.endpoints_of_connector(tx.connection, workspace_id=tx.workspace_id, connector_id=connector_id)
    paused = [row["endpoint_id"] for row in rows]
    for endpoint_id in paused:
        await _switch(tx, endpoint_id, "paused", "connector_revoked", now or utc_now())
    return paused


async def rotate_secret(
    tx: Transaction, rotation: WebhookSecretRotation, overlap: timedelta, now: datetime | None = None
) -> WebhookEndpointSecret:
    """A new secret; until the overlap ends, deliveries carry a signature of the one before as well.

    `overlap` is for a rotation that says none. A secret that was being replaced already ends now: at most two sign.
    Raises `NotFound`.
    """
    MANAGE_ENDPOINTS.check(tx.context)
    tx, at, endpoint_id = tx.following(), now or utc_now(), rotation.endpoint_id
    held = await hold_endpoint(tx, endpoint_id)
    pause = overlap if rotation.overlap_hours is None else timedelta(hours=rotation.overlap_hours)
    scope = {"workspace_id": tx.workspace_id, "endpoint_id": endpoint_id}
    await _queries.drop_ended_secrets(tx.connection, **scope)
    await _queries.end_secret(tx.connection, **scope, ends_at=at + pause)
    secret = await _add_secret(tx, endpoint_id, held["signing"], at)
    await _record(tx, "secret_rotated", endpoint_id, after={"the_one_before_ends_at": (at + pause).isoformat()})
    return WebhookEndpointSecret(endpoint=await get_endpoint(tx, endpoint_id, at), secret=secret)


async def remove_endpoint(tx: Transaction, endpoint_id: UUID, now: datetime | None = None) -> RemovedWebhookEndpoint:
    """No more deliveries, no more secret; what was sent stays in the log. Raises `NotFound`."""
    MANAGE_ENDPOINTS.check(tx.context)
    tx, at = tx.following(), now or utc_now()
    await hold_endpoint(tx, endpoint_id)
    await _drop_types(tx, endpoint_id)
    scope = {"workspace_id": tx.workspace_id, "endpoint_id": endpoint_id}
    await _queries.drop_secrets(tx.connection, **scope)
    buried = await _queries.bury_deliveries(tx.connection, **scope, now=at)
    await _queries.move_endpoint(
        tx.connection, **scope, sources=ENDPOINT.sources("removed"), target="removed", reason="admin", now=at
    )
    dead = int(buried.removeprefix("UPDATE "))
    await _record(tx, "removed", endpoint_id, after={"dead_letters": dead})
    return RemovedWebhookEndpoint(endpoint_id=endpoint_id, dead_letters=dead)


async def hold_endpoint(tx: Transaction, endpoint_id: UUID) -> Any:
    """Its row, which nobody changes until the transaction ends. Raises `NotFound`."""
    MANAGE_ENDPOINTS.check(tx.context)
    row = await _queries.hold_endpoint(tx.connection, workspace_id=tx.workspace_id, endpoint_id=endpoint_id)
    if row is None:
        raise NotFound("no such webhook endpoint")
    return row


async def _hold_connector(tx: Transaction, connector_id: UUID | None, field: str) -> None:
    """As `hold_connected`; before the endpoint, as who revokes a connector comes to both in this order."""
    await hold_connected(tx, {} if connector_id is None else {field: connector_id})


async def _switch(tx: Transaction, endpoint_id: UUID, target: str, reason: StatusReason | None, at: datetime) -> bool:
    """Whether anything changed: an endpoint that is there already stays as it is."""
    before = await hold_endpoint(tx, endpoint_id)
    if before["status"] == target:
        return False
    ENDPOINT.check(before["status"], target)
    done = await _queries.move_endpoint(
        tx.connection,
        workspace_id=tx.workspace_id,
        endpoint_id=endpoint_id,
        sources=ENDPOINT.sources(target),
        target=target,
        reason=reason,
        now=at,
    )
    if done != "UPDATE 1":
        raise Conflict("the endpoint changed meanwhile; look again")
    was, now_is = (
        {"status": status, "reason": why}
        for status, why in ((before["status"], before["status_reason"]), (target, reason))
    )
    await _record(tx, target, endpoint_id, before=was, after=now_is)
    if target == "disabled":
        told = {"endpoint_id": str(endpoint_id), "reason": reason}
        await publish(tx, "webhook.endpoint_disabled", told, subject_id=str(endpoint_id))
        if reason != "admin":
            await notify(tx, _notice(before["url"], endpoint_id, reason), roles=(Role.OWNER, Role.ADMIN), now=at)
    return True


def _notice(url: str, endpoint_id: UUID, reason: StatusReason | None) -> Notice:
    """Where it leads is told without its path, which may hold a token."""
    why = "answered that it is gone (410)" if reason == "gone" else "has failed for too long"
    return Notice(
        "webhooks",
        f"The webhook endpoint at {httpx.URL(url).host} was disabled",
        f"It {why}. What happens from now on is kept: mend the endpoint, enable it, and recover what it missed.",
        subject_type="webhook_endpoint",
        subject_id=str(endpoint_id),
    )


def _check_types(types: Sequence[str]) -> None:
    unknown = sorted(set(types) - {known.name for known in EVENTS} - {EVERY_TYPE})
    if unknown:
        faults = [
            {"field": "body.event_types", "message": f"{one} is not registered", "code": "unknown_event_type"}
            for one in unknown
        ]
        raise InvalidInput("an endpoint takes registered types of events, or * for all", faults)


async def _take_types(tx: Transaction, endpoint_id: UUID, types: Sequence[str], ordered: bool, at: datetime) -> None:
    scope = {"workspace_id": tx.workspace_id, "endpoint_id": endpoint_id, "event_types": list(types)}
    await _queries.add_types(tx.connection, **scope)
    await _queries.add_subscriptions(tx.connection, **scope, kind=DELIVER_EVENT, ordered=ordered, now=at)


async def _drop_types(tx: Transaction, endpoint_id: UUID) -> None:
    scope = {"workspace_id": tx.workspace_id, "endpoint_id": endpoint_id}
    await _queries.remove_types(tx.connection, **scope)
    await _queries.remove_subscriptions(tx.connection, **scope, kind=DELIVER_EVENT)


async def _add_secret(tx: Transaction, endpoint_id: UUID, signing: Signing, at: datetime) -> str | None:
    """The secret to show; of a pair of keys there is none."""
    made = make_shared_secret() if signing == "hmac" else make_private_key()
    key = read_signer(made)
    await _queries.add_secret(
        tx.connection,
        workspace_id=tx.workspace_id,
        endpoint_id=endpoint_id,
        secret_id=uuid7(),
        sealed=await seal(tx, made.encode(), place_of(endpoint_id)),
        public_key=key.public if isinstance(key, PrivateKey) else None,
        now=at,
    )
    return made if signing == "hmac" else None


def place_of(endpoint_id: UUID) -> str:
    """What an endpoint's secrets are sealed about."""
    return f"webhook_endpoint:{endpoint_id}"


def _told(endpoint: WebhookEndpoint) -> dict[str, Any]:
    """For the audit record. What follows a path in a URL may be a token."""
    told = endpoint.model_dump(
        mode="json", include={"description", "event_types", "signing", "ordered", "connector_id"}
    )
    return {"url": endpoint.url.partition("?")[0], **told}


async def _record(tx: Transaction, what: str, endpoint_id: UUID, *, before: Any = None, after: Any = None) -> None:
    await record(tx, f"webhook_endpoint.{what}", "webhook_endpoint", endpoint_id, before=before, after=after)
