"""What the ledger of agents counts."""

from __future__ import annotations

from prometheus_client import Counter

from datalane.db.transaction import Transaction

RUNS = Counter(
    "datalane_agent_runs_total",
    "Runs of agents that came to a status; running is one that was taken up",
    ["status"],
)
CALLS = Counter(
    "datalane_agent_tool_calls_total",
    "Calls of tools that came to a status; requested is one that waits for a person",
    ["status"],
)
SWEPT = Counter(
    "datalane_agent_runs_swept_total",
    "What the sweep found past its time: runs that are retrying or failed, approvals that expired",
    ["outcome"],
)


def count_run(tx: Transaction, status: str) -> None:
    """Count it, once `tx` has committed."""
    tx.after_commit(lambda: RUNS.labels(status).inc())


def count_call(tx: Transaction, status: str) -> None:
    """Count it, once `tx` has committed."""
    tx.after_commit(lambda: CALLS.labels(status).inc())
