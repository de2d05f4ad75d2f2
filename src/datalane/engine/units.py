"""Jobs as units of work: what is logged inside is about them, and their traces go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from datalane.engine.handlers import Job
from datalane.kit import tracing
from datalane.kit.logs import speaking_of


def is_traced(jobs: Sequence[Job]) -> bool:
    """Whether some trace goes on in them, or begins."""
    if tracing.records():
        return True
    for job in jobs:  # noqa: SIM110 half of the time of a generator, for every job
        if job.traceparent:
            return True
    return False


def working_on(jobs: Sequence[Job]) -> AbstractContextManager[object]:
    """One job, or several that are done as one: those are linked to, as there is no one trace that all belong to."""
    traced = is_traced(jobs)
    if len(jobs) > 1:
        return _unit(jobs) if traced else nullcontext()
    about = speaking_of(jobs[0].log_fields)
    return _both(about, _unit(jobs)) if traced else about


@contextmanager
def _both(about: speaking_of, unit: tracing.SpanContext) -> Iterator[None]:
    with about, unit:
        yield


def _unit(jobs: Sequence[Job]) -> tracing.SpanContext:
    first = jobs[0]
    attributes: dict[str, str | int] = {
        "messaging.system": "datalane",
        "messaging.operation.name": "process",
        "messaging.destination.name": first.kind,
    }
    name = f"process {first.kind}"
    if len(jobs) > 1:
        attributes["messaging.batch.message_count"] = len(jobs)
        links = [job.traceparent for job in jobs if job.traceparent]
        return tracing.unit(name, tracing.Kind.CONSUMER, None, attributes, links)
    attributes |= {
        "messaging.message.id": str(first.id),
        "datalane.workspace_id": str(first.workspace_id),
        "datalane.correlation_id": first.correlation_id,
        "datalane.attempt": first.attempt_count,
    }
    return tracing.unit(name, tracing.Kind.CONSUMER, first.traceparent, attributes)
