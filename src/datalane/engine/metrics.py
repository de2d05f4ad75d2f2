"""What the engine counts. `kind` and `event_type` are names that the application registers."""

from __future__ import annotations

from collections import Counter as Tallies
from collections.abc import Iterable
from functools import cache

import asyncpg
from prometheus_client import Counter, Gauge, Histogram

from datalane.db.transaction import Transaction

EVENTS = Counter(
    "datalane_events_total",
    "Events published, by type and status: accepted or duplicate; what no schema lets pass is of type rejected",
    ["event_type", "status"],
)
ENQUEUED = Counter(
    "datalane_jobs_enqueued_total",
    "Jobs enqueued by callers of this package, by kind and status: created, or duplicate of a known idempotency key",
    ["kind", "status"],
)
ATTEMPTS = Counter(
    "datalane_job_attempts_total",
    "Attempts that ended, by kind and outcome: completed, retrying, failed, dead_letter, postponed or lease_lost",
    ["kind", "outcome"],
)
RUN_SECONDS = Histogram(
    "datalane_job_run_seconds",
    "Time one run of a handler took, its commit included; jobs that share a transaction are one run",
    ["kind"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
RESCUED = Counter("datalane_jobs_rescued_total", "Jobs taken from workers that were lost")
JOBS = Gauge(
    "datalane_jobs",
    "Jobs that have not completed, by kind and status; counted by the maintenance process",
    ["kind", "status"],
    multiprocess_mode="mostrecent",
)
QUEUE_AGE = Gauge(
    "datalane_job_queue_age_seconds",
    "For how long the oldest job that could run has been waiting, by kind; counted by the maintenance process",
    ["kind"],
    multiprocess_mode="mostrecent",
)


@cache
def completed(kind: str) -> Counter:
    """The attempts of a kind that were completed: looked up once, since a job costs little more than its metrics do."""
    return ATTEMPTS.labels(kind, "completed")


@cache
def run_seconds(kind: str) -> Histogram:
    return RUN_SECONDS.labels(kind)


def count_published(tx: Transaction, outcomes: Iterable[tuple[str, str]]) -> None:
    """Count (event type, status) of each event, once `tx` has committed."""
    _count_later(tx, EVENTS, outcomes)


def count_enqueued(tx: Transaction, outcomes: Iterable[tuple[str, bool]]) -> None:
    """Count (kind, created) of each job, once `tx` has committed."""
    _count_later(tx, ENQUEUED, ((kind, "created" if created else "duplicate") for kind, created in outcomes))


def _count_later(tx: Transaction, counter: Counter, labels: Iterable[tuple[str, str]]) -> None:
    tallies = Tallies(labels)

    def count() -> None:
        for values, number in tallies.items():
            counter.labels(*values).inc(number)

    tx.after_commit(count)


class QueueGauges:
    """Sets the gauges of the queue. What is gone since the last time is set to 0, since nobody else would."""

    def __init__(self) -> None:
        self._statuses: set[tuple[str, str]] = set()
        self._waiting: set[str] = set()

    async def set(self, connection: asyncpg.Connection) -> None:
        """Count the jobs. `connection` is the maintenance login's."""
        rows = await connection.fetch("SELECT kind, status, jobs, oldest_wait FROM datalane.count_jobs()")
        counts = {(row["kind"], row["status"]): row["jobs"] for row in rows}
        waits: dict[str, float] = {}
        for row in rows:
            if row["oldest_wait"] is not None:
                waits[row["kind"]] = max(waits.get(row["kind"], 0.0), row["oldest_wait"].total_seconds())
        for labels in self._statuses | counts.keys():
            JOBS.labels(*labels).set(counts.get(labels, 0))
        for kind in self._waiting | waits.keys():
            QUEUE_AGE.labels(kind).set(waits.get(kind, 0))
        self._statuses |= counts.keys()
        self._waiting |= waits.keys()
