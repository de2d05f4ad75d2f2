"""Events that notify by themselves."""

from __future__ import annotations

from uuid import UUID

from datalane.contracts.context import Role
from datalane.db.transaction import Transaction
from datalane.engine.events import Event, get_event
from datalane.engine.handlers import Handlers, Job
from datalane.engine.jobs import get_job
from datalane.integrations.notifications.delivering import give_up
from datalane.integrations.notifications.notices import EMAIL, WEBHOOK, Notice, notify

OF_DEAD_LETTER = "notification.of_dead_letter"
"""Kind of the job that follows a dead letter."""
OF_USAGE = {
    "usage.threshold_reached": "notification.of_usage_threshold",
    "usage.limit_reached": "notification.of_usage_limit",
}
"""Kinds of the jobs that follow what a quota has come to."""


def register(handlers: Handlers) -> None:
    handlers.on_event("job.dead_lettered", kind=OF_DEAD_LETTER)(tell_of_dead_letter)
    for event_type, kind in OF_USAGE.items():
        handlers.on_event(event_type, kind=kind)(tell_of_usage)


async def tell_of_dead_letter(tx: Transaction, job: Job) -> None:
    """Owners and admins are told of a kind of job that ends as dead letters, once an hour. Not of one that somebody
    canceled, and not of notifications or past the limit of causation: that would go round in a circle."""
    event = await get_event(tx, UUID(job.args["event_id"]))
    if event is None:
        return
    kind, reason = event.payload["kind"], event.payload["reason"]
    if kind in {EMAIL, WEBHOOK}:
        stopped = await get_job(tx, UUID(event.payload["job_id"]))
        await give_up(tx, kind, stopped.args, reason)
    elif kind != OF_DEAD_LETTER and reason != "canceled" and tx.context.causation_depth <= tx.limits.causation_depth:
        await notify(tx, _notice(event, kind, reason), roles=(Role.OWNER, Role.ADMIN))


async def tell_of_usage(tx: Transaction, job: Job) -> None:
    """Owners and admins are told that a quota of the plan is nearly or wholly used up, of each once a day."""
    event = await get_event(tx, UUID(job.args["event_id"]))
    if event is not None:
        await notify(tx, _notice_of_usage(event), roles=(Role.OWNER, Role.ADMIN))


def _notice_of_usage(event: Event) -> Notice:
    told = event.payload
    quota, percent = told["quota_key"], told.get("percent")
    used = f"{told['consumed_units']:,} of {told['limit_units']:,} units of {quota} are used"
    again = f" It begins again at {told['period_end']}." if "period_end" in told else ""
    state = f"over {percent} % used" if percent else "used up"
    further = "" if percent else " What goes beyond that is refused."
    return Notice(
        "system",
        f"The quota {quota} of your plan is {state}",
        f"{used}.{further}{again}",
        subject_type="quota",
        subject_id=quota,
        dedupe_key=f"{event.event_type}:{quota}:{percent or ''}:{event.occurred_at:%Y-%m-%d}",
    )


def _notice(event: Event, kind: str, reason: str) -> Notice:
    error_class = event.payload.get("error_class")
    last = f" Its last error was {error_class}." if error_class else ""
    return Notice(
        "jobs",
        f"Jobs of the kind {kind} came to no end",
        f"A job of the kind {kind} is a dead letter ({reason.replace('_', ' ')}).{last} Others of the kind may follow "
        "within the hour, of which you are not told again. Look at them, and replay them when the cause is gone.",
        subject_type="job",
        subject_id=event.payload["job_id"],
        dedupe_key=f"job.dead_lettered:{kind}:{event.occurred_at:%Y-%m-%dT%H}",
    )
