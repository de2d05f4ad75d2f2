"""Datalane: one tenant-safe data lane in one Postgres."""

from datalane.contracts.context import Context, Role
from datalane.db.transaction import Transaction
from datalane.engine.failures import JobError
from datalane.engine.handlers import Job
from datalane.errors import DatalaneError
from datalane.lane import Lane

__all__ = ["Context", "DatalaneError", "Job", "JobError", "Lane", "Role", "Transaction"]
