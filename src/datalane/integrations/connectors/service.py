"""Registering, reading, rotating and revoking connectors.

Credentials are sealed before they are stored and bound to the connector and to their version, so that an old row opens
nothing. What was rotated away is gone; when a connector is revoked the last ones go too, and what depends on it stops,
in the transaction that revokes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from datalane.contracts.context import Role
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import Conflict, InvalidInput, NotFound, StaleVersion
from datalane.integrations.connectors import journal
from datalane.integrations.connectors.addresses import check_base_url
from datalane.integrations.connectors.credentials import check_auth, seal_credentials
from datalane.integrations.connectors.dependents import Dependents, Paused
from datalane.integrations.connectors.schemas import (
    Connector,
    ConnectorChange,
    ConnectorHistoryPage,
    ConnectorPage,
    ConnectorRotation,
    ConnectorStatus,
    ConnectorTarget,
    NewConnector,
    RevokedConnector,
)
from datalane.integrations.connectors.states import CONNECTOR
from datalane.integrations.notifications.notices import Notice, notify
from datalane.integrations.permissions import MANAGE_CONNECTORS, READ_CONNECTORS
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7
from datalane.kit.jsonlimits import encode_within
from datalane.kit.outbound import Outbound

_queries = load_queries(__file__)


async def register_connector(
    tx: Transaction, outbound: Outbound, new: NewConnector, now: datetime | None = None
) -> Connector:
    """A connector that is connected, with its credentials sealed.

    Raises `InvalidInput` and `FetchRefused` for a base URL or headers that cannot be asked with, `LimitExceeded`,
    `Conflict` for a name that one has which is not revoked, `MasterKeyMissing`.
    """
    MANAGE_CONNECTORS.check(tx.context)
    tx = tx.following()
    at, connector_id = now or utc_now(), uuid7()
    if new.base_url is not None:
        check_base_url(outbound, new.base_url)
    elif new.auth:
        raise InvalidInput("auth says how base_url is asked; give both or neither")
    check_auth(new.auth, new.credentials)
    limits = tx.limits
    encode_within(new.metadata, "the metadata", limits.metadata, limits.metadata_depth)
    done = await _queries.add_connector(
        tx.connection,
        workspace_id=tx.workspace_id,
        connector_id=connector_id,
        name=new.name,
        kind=new.kind,
        base_url=new.base_url,
        account_label=new.account_label,
        scopes=new.scopes,
        auth=[one.model_dump() for one in new.auth],
        metadata=new.metadata,
        names=sorted(new.credentials),
        sealed=await seal_credentials(tx, connector_id, 1, new.credentials),
        expires_at=new.expires_at,
        now=at,
        actor_id=tx.context.actor_id,
    )
    if done != "INSERT 0 1":
        raise Conflict(f"there is a connector named {new.name!r}; revoke that one first, or take another name")
    made = await find(tx, connector_id)
    await journal.note(tx, connector_id, "registered", at)
    await journal.audit(tx, "registered", None, made)
    await journal.tell(tx, "connected", made, at)
    return made


async def get_connector(tx: Transaction, connector_id: UUID) -> Connector:
    """One connector, without its credentials. Raises `NotFound`."""
    READ_CONNECTORS.check(tx.context)
    return await find(tx, connector_id)


async def list_connectors(
    tx: Transaction,
    status: ConnectorStatus | None = None,
    kind: str | None = None,
    cursor: str | None = None,
    page_size: int = 25,
) -> ConnectorPage:
    """Connectors, the newest first, revoked ones too. Raises `InvalidInput` for a cursor that is not this list's."""
    READ_CONNECTORS.check(tx.context)
    listing = f"connectors:{status}:{kind}"
    rows = await _queries.list_connectors(
        tx.connection,
        workspace_id=tx.workspace_id,
        status=status,
        kind=kind,
        before=tx.read_id_cursor(listing, cursor),
        page_size=page_size + 1,
    )
    page, following = tx.cut_page(listing, rows, page_size, lambda row: [row["connector_id"]])
    return ConnectorPage(data=[Connector(**row) for row in page], page_size=page_size, next_cursor=following)


async def list_history(
    tx: Transaction, connector_id: UUID | None = None, cursor: str | None = None, page_size: int = 25
) -> ConnectorHistoryPage:
    """What happened to one connector or to all, the newest first.

    Raises `NotFound`, `InvalidInput` for another list's cursor.
    """
    READ_CONNECTORS.check(tx.context)
    if connector_id is not None:
        await find(tx, connector_id)
    listing = f"connector_history:{connector_id}"
    rows = await _queries.list_history(
        tx.connection,
        workspace_id=tx.workspace_id,
        connector_id=connector_id,
        before=tx.read_id_cursor(listing, cursor),
        page_size=page_size + 1,
    )
    page, following = tx.cut_page(listing, rows, page_size, lambda row: [row["history_id"]])
    return ConnectorHistoryPage(
        data=[ConnectorChange(**row) for row in page], page_size=page_size, next_cursor=following
    )


async def rotate_credentials(tx: Transaction, rotation: ConnectorRotation, now: datetime | None = None) -> Connector:
    """Other credentials in the place of all that were there; the old ones are gone.

    Raises `NotFound`, `StaleVersion` when somebody else rotated meanwhile, `IllegalTransition` for a revoked connector,
    `InvalidInput` when the headers need a credential that is not there, `MasterKeyMissing`.
    """
    MANAGE_CONNECTORS.check(tx.context)
    tx = tx.following()
    at, seen = now or utc_now(), rotation.credential_version
    before = await hold(tx, rotation.connector_id)
    if before.status == "revoked":
        CONNECTOR.check(before.status, "connected")
    if before.credential_version != seen:
        raise _stale(before)
    check_auth(before.auth, rotation.credentials)
    done = await _queries.rotate_credentials(
        tx.connection,
        workspace_id=tx.workspace_id,
        connector_id=before.connector_id,
        seen=seen,
        names=sorted(rotation.credentials),
        sealed=await seal_credentials(tx, before.connector_id, seen + 1, rotation.credentials),
        expires_at=rotation.expires_at,
        now=at,
        actor_id=tx.context.actor_id,
    )
    after = await find(tx, before.connector_id)
    if done != "UPDATE 1":
        raise _stale(after)
    await journal.note(tx, after.connector_id, "rotated", at)
    await journal.audit(tx, "rotated", before, after)
    return after


async def revoke_connector(
    tx: Transaction, target: ConnectorTarget, dependents: Dependents, now: datetime | None = None
) -> RevokedConnector:
    """End a connector for good: its credentials are removed, and what depends on it stops, or nothing happens.

    Raises `NotFound`, `IllegalTransition` for one that is revoked.
    """
    MANAGE_CONNECTORS.check(tx.context)
    tx, at = tx.following(), now or utc_now()
    before = await hold(tx, target.connector_id)
    paused = await end(tx, before, dependents, at)
    await journal.note(tx, before.connector_id, "revoked", at)
    return RevokedConnector(connector=await find(tx, before.connector_id), paused=journal.told(paused))


async def end(tx: Transaction, before: Connector, dependents: Dependents, at: datetime) -> Sequence[Paused]:
    """Revoke a connector that is held, and pause what depends on it; tells both, by the event and to owners and
    admins. The caller has checked who asks."""
    await move(tx, before, "revoked", at)
    paused = await dependents.pause(tx, before.connector_id, at)
    after = await find(tx, before.connector_id)
    told = [one.model_dump(mode="json") for one in journal.told(paused)]
    await journal.audit(tx, "revoked", before, after, paused=told)
    await journal.tell(tx, "revoked", after, at, paused=told)
    await notify(tx, _notice(after, paused), roles=(Role.OWNER, Role.ADMIN), now=at)
    return paused


async def move(tx: Transaction, before: Connector, target: str, at: datetime) -> None:
    """One step through the lifecycle. Raises `IllegalTransition`, and `Conflict` when the state changed meanwhile."""
    CONNECTOR.check(before.status, target)
    done = await _queries.move_connector(
        tx.connection,
        workspace_id=tx.workspace_id,
        connector_id=before.connector_id,
        sources=CONNECTOR.sources(target),
        target=target,
        now=at,
        actor_id=tx.context.actor_id,
    )
    if done != "UPDATE 1":
        raise Conflict("the connector's state changed meanwhile; look again")


async def hold(tx: Transaction, connector_id: UUID) -> Connector:
    """A connector that nobody else changes until the transaction ends. Raises `NotFound`."""
    await _queries.hold_connector(tx.connection, workspace_id=tx.workspace_id, connector_id=connector_id)
    return await find(tx, connector_id)


async def hold_connected(tx: Transaction, named: Mapping[str, UUID]) -> None:
    """For what depends on connectors and runs from now on: `named` says by which fields. None of them is revoked until
    the transaction ends, and who revokes one later finds what depends on it. Hold connectors before anything else.

    Raises `InvalidInput` naming each field whose connector is not there or was revoked.
    """
    if not named:
        return
    rows = await _queries.hold_connected(
        tx.connection, workspace_id=tx.workspace_id, connector_ids=sorted(set(named.values()))
    )
    status = {row["connector_id"]: row["status"] for row in rows}
    faults = [
        {"field": field, "message": "the connector was revoked", "code": "connector_revoked"}
        if connector_id in status
        else {"field": field, "message": "no such connector", "code": "unknown_connector"}
        for field, connector_id in named.items()
        if status.get(connector_id, "revoked") == "revoked"
    ]
    if faults:
        raise InvalidInput(f"{faults[0]['field']}: {faults[0]['message']}", faults)


async def find(tx: Transaction, connector_id: UUID) -> Connector:
    """Raises `NotFound`."""
    row = await _queries.get_connector(tx.connection, workspace_id=tx.workspace_id, connector_id=connector_id)
    if row is None:
        raise NotFound("no such connector")
    return Connector(**row)


def _notice(connector: Connector, paused: Sequence[Paused]) -> Notice:
    stopped = ", ".join(f"{len(one.ids):,} of the kind {one.kind}" for one in paused)
    what = f"With it stopped: {stopped}." if stopped else "Nothing that runs depended on it."
    return Notice(
        "integrations",
        f"The connector {connector.name} was revoked",
        f"Its credentials are removed. {what} To connect again, register a new connector.",
        subject_type="connector",
        subject_id=str(connector.connector_id),
    )


def _stale(current: Connector) -> StaleVersion:
    return StaleVersion(
        f"the credentials are at version {current.credential_version}; look at the connector again",
        {"current": current.model_dump(mode="json"), "differing_fields": ["credential_version"]},
    )
