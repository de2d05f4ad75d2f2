"""Datalane: one tenant-safe data lane in one Postgres.

The public names load when they are first used, so that a process which needs one room does not pay for the house.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datalane.contracts.context import Context as Context
    from datalane.contracts.context import Role as Role
    from datalane.db.transaction import Transaction as Transaction
    from datalane.engine.failures import JobError as JobError
    from datalane.engine.handlers import Job as Job
    from datalane.errors import DatalaneError as DatalaneError
    from datalane.lane import Lane as Lane

_HOMES = {
    "Context": "datalane.contracts.context",
    "DatalaneError": "datalane.errors",
    "Job": "datalane.engine.handlers",
    "JobError": "datalane.engine.failures",
    "Lane": "datalane.lane",
    "Quota": "datalane.access.entitlements.plans",
    "Role": "datalane.contracts.context",
    "Transaction": "datalane.db.transaction",
    "metered": "datalane.access.usage.enforcing",
}

__all__ = ["Context", "DatalaneError", "Job", "JobError", "Lane", "Quota", "Role", "Transaction", "metered"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'datalane' has no attribute {name!r}")
    return getattr(import_module(home), name)
