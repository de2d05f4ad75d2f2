"""The life of a run: one event against one version of a rule.

It is made when its job is claimed first. `pending` waits for another attempt. What was skipped, failed or is a dead
letter is replayed by an operator; an operator who retries or replays the job itself takes the run up directly.
"""

from __future__ import annotations

from datalane.kit.lifecycle import Lifecycle

RUN = Lifecycle(
    "automation run",
    "pending",
    {
        "pending": frozenset({"running", "dead_letter"}),
        "running": frozenset({"completed", "skipped", "failed", "pending", "dead_letter"}),
        "completed": frozenset(),
        "skipped": frozenset({"pending"}),
        "failed": frozenset({"pending", "running", "dead_letter"}),
        "dead_letter": frozenset({"pending", "running"}),
    },
)
REPLAYABLE = ("skipped", "failed", "dead_letter")
TAKEN_UP = [*RUN.sources("running"), "running"]
"""A run that is running already is taken up by the job whose worker was lost."""
