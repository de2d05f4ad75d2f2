"""Taking a delivery: the signature first, over the bytes as they came, then what they say, then once.

    URL unknown        404, the same for every unknown one
    not signed well    401, a line `rejected_signature` in the ingestion log, nothing else
    no event           422 or 413, a line `rejected_schema`
    causes itself      413, a line `rejected_schema`: it came through webhooks of a lane, once too often
    signed and new     `webhook.received`
    id known           duplicate
    bytes known        duplicate where the moment is signed; held where neither id nor moment is, for somebody to decide

Where the id is not signed, whoever caught one delivery can send it again under other ids: so the signed bytes are
remembered for a while. Where it is, the id alone decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from datalane.contracts.context import DEPTH_HEADER, Context
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.events import NewEvent, Rejected, check_event, publish_batch, record_rejections
from datalane.errors import Busy, Conflict, InvalidInput, LimitExceeded, NotFound, Unauthenticated
from datalane.integrations.connectors.credentials import use_credentials
from datalane.integrations.events.schemas import CONNECTOR_SYSTEMS
from datalane.integrations.inbound.schemas import InboundReceipt, SignatureRule
from datalane.integrations.inbound.tokens import InboundToken, parse_token
from datalane.integrations.inbound.verifying import MOST_CHARACTERS, Unverified, Values, Verified, read_place, verify
from datalane.kit.clock import utc_now
from datalane.kit.envelope import MasterKeyMissing
from datalane.kit.ids import uuid7
from datalane.kit.strict_json import parse_json
from datalane.settings import InboundSettings

EVENT_TYPE = "webhook.received"
MOST_HELD = 1_000
"""Deliveries of one connector that wait for somebody's word; what comes past it is told in the log and sent away."""
Refusal = Unauthenticated | InvalidInput | LimitExceeded | Busy
PATIENCE = 60
"""Seconds after which a sender is asked to try again what cannot be taken now."""
Receipt = Literal["accepted", "duplicate", "duplicate_suspected"]
Door = Callable[[Context], AbstractAsyncContextManager[Any]]

_DEPTH = re.compile(r"[0-9]{1,4}")

_queries = load_queries(__file__)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came, as it came. `headers` answers the values of a header."""

    headers: Values
    body: bytes
    correlation_id: str


@dataclass(frozen=True, slots=True)
class _Receiver:
    token: InboundToken
    kind: str
    rule: SignatureRule
    secrets: Sequence[str]

    @property
    def source_system(self) -> str:
        return f"{CONNECTOR_SYSTEMS}{self.token.connector_id}"


async def receive(
    door: Door, path: str, delivery: Delivery, inbound: InboundSettings, now: datetime | None = None
) -> InboundReceipt:
    """Take one delivery. What is refused is kept in sight, and has committed when it is told.

    Raises `NotFound`, `Unauthenticated`, `InvalidInput`, `LimitExceeded`, `Busy` while signatures cannot be checked or
    nothing more can be held.
    """
    token = parse_token(path)
    if token is None:
        raise _unknown()
    context = Context.system(token.workspace_id, delivery.correlation_id).caused_by(None, _depth(delivery.headers))
    async with door(context) as tx:
        outcome = await _take(tx, await _receiver(tx, token), delivery, inbound, now or utc_now())
    if isinstance(outcome, Refusal):
        raise outcome
    return InboundReceipt(ingestion_status=outcome)


async def _take(
    tx: Transaction, receiver: _Receiver, delivery: Delivery, inbound: InboundSettings, now: datetime
) -> Receipt | Refusal:
    rule = receiver.rule
    try:
        verified = verify(rule, delivery.headers, delivery.body, receiver.secrets, now, inbound.tolerance)
    except Unverified as error:
        await _keep(tx, receiver, _claimed_id(rule, delivery), str(error), "rejected_signature")
        return Unauthenticated("the delivery is not signed as it must be")
    try:
        _check_depth(tx)
        event = _event(tx, receiver, delivery)
    except (InvalidInput, LimitExceeded) as error:
        await _keep(tx, receiver, _claimed_id(rule, delivery), str(error), "rejected_schema")
        return error
    if rule.signs_id:
        return await _publish(tx, event)
    return await _take_once(tx, receiver, event, verified, inbound, now)


async def _take_once(
    tx: Transaction,
    receiver: _Receiver,
    event: NewEvent,
    verified: Verified,
    inbound: InboundSettings,
    now: datetime,
) -> Receipt | Refusal:
    """A delivery whose id anybody could have put there."""
    scope = {"workspace_id": tx.workspace_id, "connector_id": receiver.token.connector_id}
    forgotten = now - max(inbound.suspicion, 2 * inbound.tolerance)
    is_new = await _queries.remember(
        tx.connection,
        **scope,
        signed_digest=verified.digest,
        delivery_id=event.source_event_id,
        forgotten=forgotten,
        now=now,
    )
    if is_new is not None:
        await _queries.forget(tx.connection, **scope, forgotten=forgotten)
        return await _publish(tx, event)
    before: str = await _queries.get_seen(tx.connection, **scope, signed_digest=verified.digest)
    if before == event.source_event_id:
        return await _publish(tx, event)
    if receiver.rule.has_timestamp:
        return await _publish(tx, replace(event, source_event_id=before))
    known = {**scope, "delivery_id": event.source_event_id}
    if await _queries.get_standing(tx.connection, **known) == "released":
        return await _publish(tx, event)
    await _queries.hold_delivery(
        tx.connection,
        **known,
        held_id=uuid7(),
        like_delivery_id=before,
        payload=event.payload,
        most=MOST_HELD,
        now=now,
    )
    await _keep(tx, receiver, event.source_event_id, f"the same signed bytes came as {before}", "duplicate_suspected")
    if await _queries.get_standing(tx.connection, **known) != "held":
        return Busy("too many deliveries wait for somebody's word; send it again later", PATIENCE)
    return "duplicate_suspected"


async def _receiver(tx: Transaction, token: InboundToken) -> _Receiver:
    row = await _queries.find_receiver(
        tx.connection, workspace_id=tx.workspace_id, connector_id=token.connector_id, token_digest=token.digest
    )
    if row is None:
        raise _unknown()
    try:
        credentials = await use_credentials(tx, token.connector_id)
    except Conflict:  # revoked since the look
        raise _unknown() from None
    except MasterKeyMissing:
        raise Busy("signatures cannot be checked at the moment; send it again later", PATIENCE) from None
    secrets = [credentials[name] for name in row["secret_names"] if name in credentials]
    return _Receiver(token, row["kind"], SignatureRule.model_validate(row["rule"]), secrets)


def _depth(headers: Values) -> int:
    """How long the chain of causes is with this one. Whoever makes the number up shortens their own."""
    told = [one.strip() for value in headers(DEPTH_HEADER) for one in value.split(",")]
    return max((int(one) + 1 for one in told if _DEPTH.fullmatch(one)), default=0)


def _check_depth(tx: Transaction) -> None:
    """Raises `LimitExceeded`."""
    depth, most = tx.context.causation_depth, tx.limits.causation_depth
    if depth > most:
        said = f"it would be the {depth}th event in a chain of causes that goes through webhooks, the limit is {most} "
        raise LimitExceeded(said + "(limits.causation_depth): it causes itself")


def _event(tx: Transaction, receiver: _Receiver, delivery: Delivery) -> NewEvent:
    """Raises `InvalidInput` and `LimitExceeded` for what is none."""
    rule, limits = receiver.rule, tx.limits
    body = parse_json(delivery.body, depth=limits.event_payload_depth - 1)
    delivery_id = read_place(rule.event_id, delivery.headers, body)
    if delivery_id is None:
        raise InvalidInput(f"the delivery has no id of 1 to {MOST_CHARACTERS} characters where the rule looks for it")
    said = None if rule.event_type is None else read_place(rule.event_type, delivery.headers, body)
    payload = {
        "connector_id": str(receiver.token.connector_id),
        "kind": receiver.kind,
        "delivery_id": delivery_id,
        "type": said,
        "body": body,
    }
    event = new_event(receiver.token.connector_id, payload)
    check_event(event, limits)
    return event


def new_event(connector_id: Any, payload: dict[str, Any]) -> NewEvent:
    """The event of a delivery, which is taken once by its id."""
    return NewEvent(
        EVENT_TYPE,
        payload,
        source_system=f"{CONNECTOR_SYSTEMS}{connector_id}",
        source_event_id=payload["delivery_id"],
        subject_id=str(connector_id),
    )


async def _publish(tx: Transaction, event: NewEvent) -> Receipt:
    [published] = await publish_batch(tx, [event], signature_verified=True)
    return published.status


async def _keep(
    tx: Transaction,
    receiver: _Receiver,
    delivery_id: str | None,
    detail: str,
    status: Literal["rejected_signature", "rejected_schema", "duplicate_suspected"],
) -> None:
    """A line in the ingestion log."""
    await record_rejections(tx, [Rejected(EVENT_TYPE, receiver.source_system, delivery_id, detail, status)])


def _claimed_id(rule: SignatureRule, delivery: Delivery) -> str | None:
    """The id of a delivery that is refused, as far as a header says it: its body is not read."""
    return None if rule.event_id.header is None else read_place(rule.event_id, delivery.headers, None)


def _unknown() -> NotFound:
    return NotFound("there is no such webhook")
