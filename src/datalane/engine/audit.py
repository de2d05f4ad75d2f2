"""Audit records: who did what to which thing, in the transaction that did it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from datalane.db.faults import translated
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.permissions import RECORD_AUDIT

_queries = load_queries(__file__)


async def record(
    tx: Transaction,
    action: str,
    resource_type: str,
    resource_id: str | UUID | None,
    *,
    before: Any = None,
    after: Any = None,
) -> UUID:
    """Leave an audit record of the context. `before` and `after` must hold no secret."""
    RECORD_AUDIT.check(tx.context)
    with translated():
        recorded: UUID = await _queries.audit(
            tx.connection,
            action=action,
            resource_type=resource_type,
            resource_id=None if resource_id is None else str(resource_id),
            before=before,
            after=after,
        )
    return recorded
