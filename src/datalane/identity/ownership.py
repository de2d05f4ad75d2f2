"""A workspace has exactly one owner, who may hand it to another active member."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from datalane.db.transaction import Transaction
from datalane.identity.metrics import count_membership_change
from datalane.identity.permissions import TRANSFER_OWNERSHIP
from datalane.identity.queries import queries
from datalane.identity.schemas import Ownership


async def transfer_ownership(tx: Transaction, new_owner: UUID, now: datetime | None = None) -> Ownership:
    """The owner who acts in `tx` becomes an admin, `new_owner` the owner.

    Raises `NotFound` for somebody who is no member, `Conflict` for one who is not active or when the ownership changed
    hands in the meantime, and `Forbidden` for an API key and for the system: only the owner in person may do this.
    """
    TRANSFER_OWNERSHIP.check(tx.context)
    moved = await queries.transfer_ownership(tx.connection, new_owner=new_owner, now=now)
    count_membership_change(tx, "ownership_transferred")
    return Ownership(workspace_id=tx.workspace_id, owner_id=new_owner, **moved)
