"""The meters of other domains, bounded by quotas of the same name: what is asked before it is used.

What is used is counted where it is used, by the verbs.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from datalane.access.usage import service
from datalane.db.transaction import Transaction
from datalane.engine.meters import Adding, Meters, Refusal


def bound_by_quotas(meters: Meters) -> None:
    """Ask the quotas of the workspace's plan before a meter is moved."""
    names = meters.names

    async def has_quotas(tx: Transaction) -> bool:
        return any(each.quota_key in names for each in (await service.list_counters(tx.following())).data)

    meters.bound(names, _within_quotas, has_quotas)


async def _within_quotas(tx: Transaction, adding: Mapping[str, Adding], now: datetime) -> Refusal | None:
    counters = {each.quota_key: each for each in (await service.list_counters(tx.following())).data}
    for meter, added in adding.items():
        counter = counters.get(meter)
        if counter is None or counter.remaining_units is None:
            continue
        more = int(added.amount)
        if counter.remaining_units < max(more, 1):
            return Refusal(meter, f"the quota of the plan would not hold: {service.refusal_of(counter, more)}")
    return None
