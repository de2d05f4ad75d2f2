"""The life of a job.

A canceled job ends as `dead_letter` with reason `canceled`; replay starts a new job and leaves the dead letter as it
is. The last retryable failure passes through `retrying` in the same statement.
"""

from __future__ import annotations

from datalane.kit.lifecycle import Lifecycle

JOB = Lifecycle(
    "job",
    "queued",
    {
        "queued": frozenset({"processing", "dead_letter"}),
        "processing": frozenset({"completed", "retrying", "failed"}),
        "retrying": frozenset({"processing", "dead_letter"}),
        "failed": frozenset({"retrying", "dead_letter"}),
        "completed": frozenset(),
        "dead_letter": frozenset(),
    },
)
