"""Opening and closing the way in for a connector's webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.audit import record
from datalane.errors import Conflict, InvalidInput, NotFound
from datalane.integrations.connectors.service import hold
from datalane.integrations.inbound.schemas import InboundPage, InboundTarget, InboundWebhook, OpenedInbound, OpenInbound
from datalane.integrations.inbound.tokens import InboundToken
from datalane.integrations.inbound.verifying import PRESETS
from datalane.integrations.permissions import MANAGE_INBOUND, READ_INBOUND
from datalane.kit.clock import utc_now

_queries = load_queries(__file__)


async def open_inbound(tx: Transaction, said: OpenInbound, now: datetime | None = None) -> OpenedInbound:
    """Take webhooks of a connector from now on, at a new path unless it is kept.

    Raises `NotFound`, `Conflict` for a revoked connector, `InvalidInput` when it has none of the credentials.
    """
    MANAGE_INBOUND.check(tx.context)
    tx, at = tx.following(), now or utc_now()
    connector = await hold(tx, said.connector_id)
    if connector.status == "revoked":
        raise Conflict("the connector is revoked; nothing of it is taken any more")
    if not set(said.secrets) & set(connector.credential_names):
        raise InvalidInput(
            "none of these credentials is there to check signatures with",
            [{"field": "body.secrets", "message": "names credentials of the connector", "code": "unknown_credential"}],
        )
    rule = said.rule if said.preset is None else PRESETS[said.preset]
    assert rule is not None
    scope = {"workspace_id": tx.workspace_id, "connector_id": said.connector_id}
    known = await _queries.get_digest(tx.connection, **scope)
    token = None if said.keep_path and known else InboundToken.new(tx.workspace_id, said.connector_id)
    await _queries.put_inbound(
        tx.connection,
        **scope,
        token_digest=known if token is None else token.digest,
        preset=said.preset,
        rule=rule.model_dump(mode="json"),
        secret_names=sorted(set(said.secrets)),
        now=at,
        actor_id=tx.context.actor_id,
    )
    made = await _find(tx, said.connector_id)
    path = None if token is None else f"/webhooks/inbound/{token}"
    await record(
        tx,
        "inbound_webhook.opened",
        "inbound_webhook",
        said.connector_id,
        after={"preset": made.preset, "rule": made.rule.model_dump(mode="json"), "new_path": path is not None},
    )
    return OpenedInbound(**dict(made), path=path)


async def close_inbound(tx: Transaction, target: InboundTarget, now: datetime | None = None) -> InboundWebhook:
    """Take no more webhooks of a connector. Raises `NotFound`; closing again changes nothing."""
    MANAGE_INBOUND.check(tx.context)
    tx = tx.following()
    await _find(tx, target.connector_id)
    if await pause_inbound(tx, target.connector_id, now or utc_now()):
        await record(tx, "inbound_webhook.closed", "inbound_webhook", target.connector_id)
    return await _find(tx, target.connector_id)


async def pause_inbound(tx: Transaction, connector_id: UUID, now: datetime) -> Sequence[UUID]:
    """For `Dependents`: with its connector the way in closes, which is known by the connector's id."""
    done = await _queries.close_inbound(
        tx.connection,
        workspace_id=tx.workspace_id,
        connector_id=connector_id,
        now=now,
        actor_id=tx.context.actor_id,
    )
    return [connector_id] if done == "UPDATE 1" else []


async def list_inbound(tx: Transaction, cursor: str | None = None, page_size: int = 25) -> InboundPage:
    """Whose webhooks are taken, or were. Raises `InvalidInput` for a cursor that is not this list's."""
    READ_INBOUND.check(tx.context)
    rows = await _queries.list_inbound(
        tx.connection,
        workspace_id=tx.workspace_id,
        before=tx.read_id_cursor("inbound", cursor),
        page_size=page_size + 1,
    )
    page, following = tx.cut_page("inbound", rows, page_size, lambda row: [row["connector_id"]])
    return InboundPage(data=[InboundWebhook(**row) for row in page], page_size=page_size, next_cursor=following)


async def _find(tx: Transaction, connector_id: UUID) -> InboundWebhook:
    row = await _queries.get_inbound(tx.connection, workspace_id=tx.workspace_id, connector_id=connector_id)
    if row is None:
        raise NotFound("no such inbound webhook")
    return InboundWebhook(**row)
