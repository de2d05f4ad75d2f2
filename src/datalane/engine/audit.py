"""Audit records: who did what to which thing, in the transaction that did it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.permissions import ERASE_AUDIT, READ_AUDIT, RECORD_AUDIT
from datalane.kit.redaction import redact

_queries = load_queries(__file__, "audit.sql")


async def record(
    tx: Transaction,
    action: str,
    resource_type: str,
    resource_id: str | UUID | None,
    *,
    before: Any = None,
    after: Any = None,
) -> UUID:
    """Leave an audit record of the context. What looks like a secret in `before` and `after` is masked.

    Put personal values into `before` and `after` only: they can be erased, the rest of the record stays for good.
    """
    RECORD_AUDIT.check(tx.context)
    recorded: UUID = await _queries.audit(
        tx.connection,
        action=action,
        resource_type=resource_type,
        resource_id=None if resource_id is None else str(resource_id),
        before=redact(before),
        after=redact(after),
    )
    return recorded


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """A record as stored; `details_erased` says that `before` and `after` had values once."""

    audit_id: UUID
    occurred_at: datetime
    actor_id: UUID
    action: str
    resource_type: str
    resource_id: str | None
    correlation_id: str
    before: Any
    after: Any
    details_erased: bool


async def list_records(
    tx: Transaction,
    *,
    action: str | None = None,
    actor_id: UUID | None = None,
    resource_type: str | None = None,
    resource_id: str | None = None,
    most: int = 25,
) -> list[AuditRecord]:
    """The workspace's records, newest first."""
    READ_AUDIT.check(tx.context)
    rows = await _queries.list_records(
        tx.connection,
        workspace_id=tx.workspace_id,
        action=action,
        actor_id=actor_id,
        resource_type=resource_type,
        resource_id=resource_id,
        most=most,
    )
    return [AuditRecord(**row) for row in rows]


async def erase_details(tx: Transaction, audit_ids: Sequence[UUID], reason: str) -> int:
    """Erase `before` and `after` of up to 1,000 records and leave a record of it; answers how many had some.

    `reason`: 1 to 200 characters without personal values. Raises `LimitExceeded`, `InvalidInput`, `Forbidden` below
    the rank of an owner.
    """
    ERASE_AUDIT.check(tx.context)
    erased: int = await _queries.erase_details(tx.connection, audit_ids=list(audit_ids), reason=reason)
    return erased


async def erase_person(tx: Transaction, person_id: UUID, reason: str, mentions: Sequence[str] = ()) -> int:
    """Erase the details of every record about a person; answers how many.

    Those are the records whose resource is the person, and those whose values hold the person's id or one of
    `mentions`: give the address and the name. Raises as `erase_details`.
    """
    ERASE_AUDIT.check(tx.context)
    erased: int = await _queries.erase_person(
        tx.connection, person_id=person_id, mentions=list(mentions), reason=reason
    )
    return erased
