"""Requests to the routes of access and usage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datalane.ops.isolation.route_access import QUOTA, WORK
from datalane.ops.isolation.route_seed import Seed
from datalane.ops.isolation.route_table import Call
from datalane.ops.isolation.route_world import NEEDED


def access_seeds() -> Mapping[str, Sequence[Seed]]:
    """Whoever sees what the other workspace has used or was given finds it under the key of these requests."""

    def of_quota(**said: Any) -> Sequence[Seed]:
        return [Seed(lambda world, actor: Call(body={"quota_key": QUOTA, **said}))]

    def asked(name: str = "request", **said: str) -> Sequence[Seed]:
        return [Seed(lambda world, actor: Call(query=said), name)]

    reserved = f"reserved {WORK}"
    return {
        "GET /access/entitlements/check": asked(feature_key=NEEDED),
        "GET /access/may": [*asked("of a quota", key=QUOTA), *asked("of what the other workspace has", key=NEEDED)],
        "POST /usage/consume": of_quota(idempotency_key=NEEDED),
        "POST /usage/reserve": of_quota(idempotency_key=f"reserved {NEEDED}", units=5),
        "POST /usage/commit": of_quota(idempotency_key=reserved, units=1),
        "POST /usage/release": of_quota(idempotency_key=reserved),
        "GET /usage/ledger/list": asked(quota_key=QUOTA),
    }
