"""Running rules.

    claim ─> take the run up, in a transaction of its own ─> condition and arguments, in a child ─> one transaction:
             all actions, the run's end and the completion of its job, or none of it

A run belongs to the job that took it up last. A job that finds its run with another one, or ended, does nothing:
however often jobs come, the actions of a run have their effect once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from datalane.contracts.context import Context
from datalane.db.database import Database, encode_json
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.actions import ActionCall, Actions
from datalane.engine.events import Event, get_event
from datalane.engine.failures import JobError, classify
from datalane.engine.handlers import Failure, Handler, Handlers, Job, Mode
from datalane.engine.jobs import get_job
from datalane.engine.running import CONTENTION
from datalane.errors import Conflict, DatabaseUnavailable, InvalidInput, LeaseLost, NotFound
from datalane.integrations.automation.conditions import Conditions, Expression
from datalane.integrations.automation.metrics import count_runs
from datalane.integrations.automation.schemas import ActionOutcome, SkipReason
from datalane.integrations.automation.service import KIND
from datalane.integrations.automation.states import RUN, TAKEN_UP
from datalane.integrations.automation.templates import fill, find_expressions
from datalane.integrations.permissions import RUN_RULES
from datalane.kit.clock import utc_now
from datalane.kit.ids import rising_uuid7
from datalane.kit.jsonlimits import encode_within

SETTLE = "automation.settle"
BATCH = 50
"""Runs of one workspace that share a transaction while all goes well."""

_NOT_OURS = (DatabaseUnavailable, LeaseLost, *CONTENTION)
"""What the worker deals with by itself."""

_queries = load_queries(__file__, "runs.sql")
_rules = load_queries(__file__)


class Key(NamedTuple):
    """What a run is of."""

    event_id: UUID
    rule_id: UUID
    rule_version: int


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that was taken up. `skip` is why nothing is to be decided."""

    key: Key
    run_id: UUID
    event: Event | None
    condition: str
    steps: Sequence[Mapping[str, Any]]
    skip: SkipReason | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A run of which everything is decided: what is called with what, or why nothing is."""

    key: Key
    run_id: UUID
    skip: SkipReason | None
    calls: Sequence[tuple[str, Mapping[str, Any]]] = ()


@dataclass(frozen=True, slots=True)
class StepFailure(Failure):
    """`position` is the action that failed, None when none was called."""

    actions: tuple[str, ...] = ()
    position: int | None = None


class RunFailed(JobError):
    def __init__(self, failure: StepFailure) -> None:
        super().__init__(failure.error_class, failure.message)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Execution:
    database: Database
    conditions: Conditions
    actions: Actions

    def register(self, handlers: Handlers) -> None:
        """Add the handlers of runs."""
        handlers.add(Handler(KIND, Mode.STAGED, self.apply, prepare=self.prepare, batch=BATCH, on_failure=self.failed))
        handlers.on_event("job.dead_lettered", kind=SETTLE)(settle)

    async def prepare(self, jobs: Sequence[Job]) -> list[Any]:
        """A plan for each job, None where nothing is to be done, or the error that it fails by."""
        keys = {job.id: key for job in jobs if isinstance(key := _key(job), Key)}
        context = Context.system(jobs[0].workspace_id, jobs[0].correlation_id)
        async with self.database.transaction(context) as tx:
            begun = await take_up(tx, [job for job in jobs if job.id in keys], keys)
        return [await self._plan_or_error(job, begun.get(job.id)) for job in jobs]

    async def _plan_or_error(self, job: Job, begun: Begun | NotFound | None) -> Plan | Exception | None:
        """One after the other: of each workspace at most one waits for a child, so that conditions of one that take
        long are not all in front of another one's."""
        try:
            return await self._plan(job, begun)
        except Exception as error:
            return error

    async def _plan(self, job: Job, begun: Begun | NotFound | None) -> Plan | None:
        key = _key(job)
        if isinstance(key, InvalidInput):
            raise key
        if isinstance(begun, NotFound):
            raise begun
        if begun is None:
            return None
        if begun.skip or begun.event is None:
            return Plan(begun.key, begun.run_id, begun.skip or "event_gone")
        holds, calls = await decide(self.conditions, begun.event, begun.condition, begun.steps)
        return Plan(begun.key, begun.run_id, None if holds else "condition", calls)

    async def apply(self, tx: Transaction, jobs: Sequence[Job], plans: Sequence[Plan | None]) -> None:
        """Do what is planned, for those jobs whose runs are still theirs."""
        RUN_RULES.check(tx.context)
        planned = [(job, plan) for job, plan in zip(jobs, plans, strict=True) if plan is not None]
        if not planned:
            return
        rows = await _queries.lock_runs(
            tx.connection, workspace_id=tx.workspace_id, **_columns([plan.key for _, plan in planned])
        )
        holders = {_key_of(row): row["job_id"] for row in rows if row["status"] == "running"}
        ended: list[tuple[Plan, list[ActionOutcome]]] = []
        for job, plan in planned:
            if holders.get(plan.key) == job.id:
                acting = tx.acting_for(job.workspace_id, job.make_context)
                ended.append((plan, await self._perform(acting, plan)))
        await _end(tx, ended)

    async def _perform(self, tx: Transaction, plan: Plan) -> list[ActionOutcome]:
        """Call the actions in order. Raises `RunFailed` saying which one failed."""
        names = tuple(name for name, _ in plan.calls)
        limit = tx.limits.causation_depth
        if names and tx.context.causation_depth > limit:
            message = f"what it does would be the {tx.context.causation_depth}th event in a chain of causes, the limit "
            message += f"is {limit} (limits.causation_depth): it causes itself"
            raise RunFailed(StepFailure("causation_depth", message, retryable=False, actions=names))
        outcomes = []
        for position, (name, arguments) in enumerate(plan.calls):
            call = ActionCall(plan.run_id, position, plan.key.event_id)
            try:
                done = await self.actions.get(name).run(tx, self.actions.read(name, arguments), call)
                encode_within(dict(done), f"the result of {name}", tx.limits.metadata, tx.limits.event_payload_depth)
            except _NOT_OURS:
                raise
            except Exception as error:
                raise RunFailed(_step_failure(error, names, position)) from error
            outcomes.append(ActionOutcome(action=name, status="succeeded", result=dict(done)))
        return outcomes

    async def failed(self, tx: Transaction, job: Job, failure: Failure) -> None:
        """Write down what became of the run, in the transaction that records the failure of its job."""
        RUN_RULES.check(tx.context)
        key = _key(job)
        if not isinstance(key, Key):
            return
        job_status = (await get_job(tx, job.id)).status
        status = job_status if job_status in ("failed", "dead_letter") else "pending"
        await _queries.fail_run(
            tx.connection,
            workspace_id=tx.workspace_id,
            event_id=key.event_id,
            rule_id=key.rule_id,
            version=key.rule_version,
            job_id=job.id,
            status=status,
            error_class=failure.error_class,
            error_message=failure.message,
            outcomes=[outcome.model_dump() for outcome in _outcomes(failure)],
            ended_at=None if status == "pending" else utc_now(),
            sources=["running"],
        )
        count_runs(tx, [status])


async def take_up(tx: Transaction, jobs: Sequence[Job], keys: Mapping[UUID, Key]) -> dict[UUID, Begun | NotFound]:
    """Make the runs that are not there yet, and mark as running those that may be; answers them by their job."""
    RUN_RULES.check(tx.context)
    wanted = [keys[job.id] for job in jobs]
    found = await _queries.find_versions(
        tx.connection,
        workspace_id=tx.workspace_id,
        rule_ids=[key.rule_id for key in wanted],
        versions=[key.rule_version for key in wanted],
    )
    versions = {(row["rule_id"], row["version"]): row for row in found}
    rows = await _queries.find_events(
        tx.connection, workspace_id=tx.workspace_id, event_ids=[key.event_id for key in wanted]
    )
    events = {row["event_id"]: Event(**row) for row in rows}
    switch = await _rules.get_switch(tx.connection, workspace_id=tx.workspace_id)
    known = [job for job in jobs if keys[job.id][1:] in versions]
    await _add(tx, [job for job in known if keys[job.id].event_id in events], keys, versions)
    runs = await _mark_running(tx, known, keys)
    begun: dict[UUID, Begun | NotFound] = {
        job.id: NotFound("no such version of a rule") for job in jobs if keys[job.id][1:] not in versions
    }
    for job in known:
        key = keys[job.id]
        if key in runs:
            version = versions[key[1:]]
            skip: SkipReason | None = None
            if switch is not None and not switch["enabled"]:
                skip = "switched_off"
            elif not version["enabled"]:
                skip = "rule_disabled"
            event = events.get(key.event_id)
            begun[job.id] = Begun(key, runs[key], event, version["condition"], version["actions"], skip)
    return begun


async def _add(tx: Transaction, jobs: Sequence[Job], keys: Mapping[UUID, Key], versions: Mapping[Any, Any]) -> None:
    if not jobs:
        return
    await _queries.add_runs(
        tx.connection,
        workspace_id=tx.workspace_id,
        **_columns([keys[job.id] for job in jobs]),
        run_ids=[rising_uuid7() for _ in jobs],
        event_types=[versions[keys[job.id][1:]]["event_type"] for job in jobs],
        job_ids=[job.id for job in jobs],
        actor_ids=[job.actor_id for job in jobs],
        correlation_ids=[job.correlation_id for job in jobs],
        causation_depths=[job.causation_depth for job in jobs],
        now=utc_now(),
    )


async def _mark_running(tx: Transaction, jobs: Sequence[Job], keys: Mapping[UUID, Key]) -> dict[Key, UUID]:
    """The ids of the runs that are running now, by what they are of."""
    if not jobs:
        return {}
    columns = _columns([keys[job.id] for job in jobs])
    rows = await _queries.lock_runs(tx.connection, workspace_id=tx.workspace_id, **columns)
    await _queries.take_up(
        tx.connection,
        workspace_id=tx.workspace_id,
        **columns,
        job_ids=[job.id for job in jobs],
        attempts=[job.attempt_count for job in jobs],
        sources=TAKEN_UP,
        now=utc_now(),
    )
    return {_key_of(row): row["run_id"] for row in rows if row["status"] in TAKEN_UP}


async def decide(
    conditions: Conditions, event: Event, condition: str, steps: Sequence[Mapping[str, Any]]
) -> tuple[bool, list[tuple[str, Mapping[str, Any]]]]:
    """Whether the condition holds of the event and, if it does, the actions with their arguments.

    Raises `ExpressionFailed`, `ConditionsUnavailable`.
    """
    expressions = [
        found
        for place, step in enumerate(steps)
        for found in find_expressions(step["arguments"], f"actions.{place}.arguments")
    ]
    decided = await conditions.decide(event, Expression("condition", condition), expressions)
    if not decided.holds:
        return False, []
    values = iter(decided.values)
    return True, [(step["action"], fill(step["arguments"], values)) for step in steps]


async def settle(tx: Transaction, job: Job) -> None:
    """A job that ended without its handler (canceled, or its workers were lost too often) ends its run as well."""
    RUN_RULES.check(tx.context)
    event = await get_event(tx, UUID(job.args["event_id"]))
    if event is None or event.payload["kind"] != KIND:
        return
    if not (await get_job(tx, UUID(event.payload["job_id"]))).replayable:
        return  # it goes on, or another does in its place
    reason = event.payload["reason"]
    done = await _queries.bury_run(
        tx.connection,
        workspace_id=tx.workspace_id,
        job_id=UUID(event.payload["job_id"]),
        error_class=event.payload.get("error_class") or reason,
        error_message=f"its job is a dead letter: {reason}",
        sources=RUN.sources("dead_letter"),
        now=utc_now(),
    )
    if done == "UPDATE 1":
        count_runs(tx, ["dead_letter"])


async def _end(tx: Transaction, ended: Sequence[tuple[Plan, list[ActionOutcome]]]) -> None:
    if not ended:
        return
    statuses = ["skipped" if plan.skip else "completed" for plan, _ in ended]
    await _queries.end_runs(
        tx.connection,
        workspace_id=tx.workspace_id,
        **_columns([plan.key for plan, _ in ended]),
        statuses=statuses,
        reasons=[plan.skip for plan, _ in ended],
        outcomes=[encode_json([outcome.model_dump() for outcome in outcomes]) for _, outcomes in ended],
        sources=["running"],
        now=utc_now(),
    )
    count_runs(tx, statuses)


def _step_failure(error: Exception, names: tuple[str, ...], position: int) -> StepFailure:
    """What the state of a thing forbids now, it will forbid in a minute: a conflict is not tried again."""
    failure = classify(error)
    return StepFailure(
        failure.error_class,
        f"action {position + 1} ({names[position]}): {failure.message}",
        failure.retryable and not isinstance(error, Conflict),
        failure.retry_after,
        failure.postponed,
        names,
        position,
    )


def _outcomes(failure: Failure) -> list[ActionOutcome]:
    if not isinstance(failure, StepFailure):
        return []
    at = -1 if failure.position is None else failure.position
    outcomes = [
        ActionOutcome(action=name, status="undone" if place < at else "not_run")
        for place, name in enumerate(failure.actions)
    ]
    if failure.position is not None:
        told = {"status": "failed", "error_class": failure.error_class, "error_message": failure.message}
        outcomes[at] = outcomes[at].model_copy(update=told)
    return outcomes


def _key(job: Job) -> Key | InvalidInput:
    try:
        key = Key(UUID(job.args["event_id"]), UUID(job.args["rule_id"]), job.args["rule_version"])
    except (KeyError, ValueError, TypeError, AttributeError):
        return InvalidInput("the job does not name an event, a rule and its version")
    if type(key.rule_version) is not int or not 0 < key.rule_version < 2**31:
        return InvalidInput("the job names no version of a rule")
    return key


def _key_of(row: Any) -> Key:
    return Key(row["event_id"], row["rule_id"], row["rule_version"])


def _columns(keys: Sequence[Key]) -> dict[str, list[Any]]:
    return {
        "event_ids": [key.event_id for key in keys],
        "rule_ids": [key.rule_id for key in keys],
        "versions": [key.rule_version for key in keys],
    }
