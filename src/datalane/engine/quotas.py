"""Using what the plan of a workspace bounds, by the verb that every domain shares.

A domain names what it uses (`knowledge.documents`) and counts it where it is used. It matters only where a plan has a
quota of that name: then it is counted exactly, undone with the transaction, and refused at the limit.
"""

from __future__ import annotations

from collections.abc import Mapping

from datalane.db.transaction import Transaction
from datalane.errors import UsageLimitReached
from datalane.kit.clock import utc_now

_USE = (
    "SELECT quota_key, units, consumed_units, reserved_units, limit_units, retry_at "
    "FROM datalane.consume_sold($1, $2, $3) WHERE outcome = 'refused'"
)


async def use_what_is_sold(tx: Transaction, units: Mapping[str, int], key: str) -> None:
    """Use whole units by name, once by the key; those below 1 are left out. Raises `UsageLimitReached`."""
    used = {name: number for name, number in units.items() if number > 0}
    row = await tx.fetchrow(_USE, list(used), list(used.values()), key) if used else None
    if row is not None:
        left = max(0, row["limit_units"] - row["consumed_units"] - row["reserved_units"])
        retry_at = row["retry_at"]
        raise UsageLimitReached(
            f"{row['consumed_units']:,} of {row['limit_units']:,} units of {row['quota_key']} are used; "
            f"{row['units']:,} more do not fit",
            quota_key=row["quota_key"],
            limit_units=row["limit_units"],
            remaining_units=left,
            retry_after=None if retry_at is None else max(0.0, (retry_at - utc_now()).total_seconds()),
        )
