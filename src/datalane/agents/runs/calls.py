"""Calls of tools in the ledger: each is decided before it begins, and each attempt is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from datalane.agents.metrics import count_call, count_run
from datalane.agents.permissions import DECIDE_CALLS, RECORD_RUNS
from datalane.agents.runs.queueing import leave_job
from datalane.agents.runs.recording import kept, said
from datalane.agents.runs.rulings import ARGUMENTS, Ruling, rule_on
from datalane.agents.runs.schemas import ErrorClass, HeldRun
from datalane.agents.safety.judging import Judged
from datalane.agents.safety.recording import record_moderation
from datalane.contracts.conformance import find_faults
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import SchemaViolation

APPROVAL_PATIENCE = timedelta(hours=24)
"""How long a call waits for a person before it is blocked, and a run that goes on from it for a runtime."""

MODERATION = "moderation.arguments"
"""The rule that arguments are what moderation lets pass."""

_queries = load_queries(__file__, "verbs.sql")


@dataclass(frozen=True, slots=True)
class CallTerms:
    """How a version of a tool is called. `max_attempts` counts the first one as well."""

    tool_name: str
    version: int
    max_attempts: int
    timeout_seconds: int


@dataclass(frozen=True, slots=True)
class RequestedCall:
    """A call as it stands after the request, and what decided it. `terms` is None for a tool that is unknown.
    `is_replay` says that its effect was there already, and is `result`."""

    tool_call_id: UUID
    status: Literal["authorized", "executing", "succeeded", "blocked_policy", "requested"]
    attempt_count: int
    is_replay: bool
    result: Any
    rule_id: str
    rule_version: int
    reason: str
    error_class: ErrorClass | None
    terms: CallTerms | None


async def request_call(
    tx: Transaction,
    run: HeldRun,
    tool_name: str,
    arguments: Mapping[str, Any],
    *,
    idempotency_key: str | None = None,
    execute: bool = True,
    judged: Judged | None = None,
    now: datetime | None = None,
) -> RequestedCall:
    """Decide a call by the policy, and record it. One that is authorized begins at once unless `execute` is False; one
    that takes a person's approval ends the run as `escalated_human`. `judged` is what moderation said of the arguments:
    where they do not pass, the call is blocked and they are not kept.

    Raises `LeaseLost`, `NotFound`, `LimitExceeded`, `Conflict` where a serial tool would not run alone or the
    idempotency key was used with other arguments, `InvalidInput` for an external tool without one.
    """
    RECORD_RUNS.check(tx.context)
    ruling = _moderated(tx, await rule_on(tx, run.run_id, tool_name, arguments), judged)
    if judged is not None and ruling.outcome == "escalated":  # the run ends with this call
        await record_moderation(tx, run, judged, now=now)
    row = await _queries.request_call(
        tx.connection,
        **_held(run),
        tool=tool_name,
        tool_version=None if ruling.tool is None else ruling.tool.terms.version,
        arguments=kept(tx, "arguments", arguments) if judged is None or judged.passes else None,
        arguments_digest=ruling.digest,
        idempotency_key=idempotency_key,
        outcome=ruling.outcome,
        rule_id=ruling.rule_id,
        rule_version=ruling.rule_version,
        reason=tx.redaction.text(ruling.reason),
        error_class=ruling.error_class,
        execute=execute,
        approval_id=ruling.approval_id,
        patience=APPROVAL_PATIENCE,
        now=now,
    )
    tx.wake_workers()
    count_call(tx, row["status"])
    if row["status"] == "requested":
        count_run(tx, "escalated_human")
    elif judged is not None:
        await record_moderation(tx, run, judged, tool_call_id=row["tool_call_id"], now=now)
    return RequestedCall(
        **row,
        rule_id=ruling.rule_id,
        rule_version=ruling.rule_version,
        reason=ruling.reason,
        error_class=ruling.error_class,
        terms=_terms(ruling),
    )


async def start_call(tx: Transaction, run: HeldRun, tool_call_id: UUID, now: datetime | None = None) -> int:
    """Begin a call that was authorized, or is to be tried again. Answers which attempt it is. Raises as `request_call`,
    and `IllegalTransition`."""
    RECORD_RUNS.check(tx.context)
    attempt: int = await _queries.start_call(tx.connection, **_held(run), tool_call_id=tool_call_id, now=now)
    return attempt


async def succeed_call(
    tx: Transaction,
    run: HeldRun,
    tool_call_id: UUID,
    result: Any = None,
    now: datetime | None = None,
    *,
    judged: Judged | None = None,
) -> None:
    """A call did what it was to do. In the transaction of its effect, both commit together or not at all. `judged` is
    what moderation said of the result, which is not kept where it does not pass.

    Raises `LeaseLost`, `NotFound`, `IllegalTransition`, `LimitExceeded`, `SchemaViolation` for a result that is not as
    its tool says, and `Conflict` when another call with the same idempotency key was first.
    """
    RECORD_RUNS.check(tx.context)
    await _check_result(tx, run, tool_call_id, result)
    if judged is not None:
        await record_moderation(tx, run, judged, tool_call_id=tool_call_id, now=now)
        result = result if judged.passes else None
    await _queries.succeed_call(
        tx.connection, **_held(run), tool_call_id=tool_call_id, result=kept(tx, "result", result), now=now
    )
    tx.wake_workers()
    count_call(tx, "succeeded")


async def fail_call(
    tx: Transaction,
    run: HeldRun,
    tool_call_id: UUID,
    error_class: str,
    error_message: str | None = None,
    *,
    retryable: bool = False,
    now: datetime | None = None,
) -> Literal["retrying", "failed"]:
    """An attempt failed: the call is to be tried again when that may help and attempts are left. Raises as others."""
    RECORD_RUNS.check(tx.context)
    status: Literal["retrying", "failed"] = await _queries.fail_call(
        tx.connection,
        **_held(run),
        tool_call_id=tool_call_id,
        error_class=error_class,
        error_message=said(tx, error_message),
        retryable=retryable,
        now=now,
    )
    tx.wake_workers()
    count_call(tx, status)
    return status


async def cancel_call(tx: Transaction, run: HeldRun, tool_call_id: UUID, now: datetime | None = None) -> None:
    """Leave a call that was authorized and has not begun. Raises as others."""
    RECORD_RUNS.check(tx.context)
    await _queries.cancel_call(tx.connection, **_held(run), tool_call_id=tool_call_id, now=now)
    tx.wake_workers()
    count_call(tx, "canceled")


async def resolve_call(
    tx: Transaction, tool_call_id: UUID, approve: bool, reason: str, now: datetime | None = None
) -> UUID | None:
    """Decide about a call that waits for a person. Answers the run that was queued to go on, when it is approved: in it
    the same call with the same arguments is allowed once.

    Raises `NotFound`, and `Conflict` for a call that waits for nobody.
    """
    DECIDE_CALLS.check(tx.context)
    row = await _queries.resolve_call(
        tx.connection,
        tool_call_id=tool_call_id,
        approve=approve,
        reason=reason,
        patience=APPROVAL_PATIENCE,
        now=now,
    )
    tx.wake_workers()
    count_call(tx, "canceled" if approve else "blocked_policy")
    following: UUID | None = row["following_run_id"]
    if following is not None:
        await leave_job(tx, following, row["agent"])
    return following


async def _check_result(tx: Transaction, run: HeldRun, tool_call_id: UUID, result: Any) -> None:
    called = await _queries.called_tool(tx.connection, **_held(run), tool_call_id=tool_call_id)
    faults = () if called["output_schema"] is None else find_faults(called["output_schema"], result)
    if faults:
        told = [{"field": f"result.{fault.field}".rstrip("."), "message": fault.message} for fault in faults]
        raise SchemaViolation(f"the result of {called['tool_name']} is not as its schema says", told)


def _moderated(tx: Transaction, ruling: Ruling, judged: Judged | None) -> Ruling:
    """What the policy blocks stays blocked by its rule, unless that quotes the arguments."""
    if judged is None or judged.passes or (ruling.outcome == "blocked_policy" and ruling.rule_id != ARGUMENTS):
        return ruling
    return replace(
        ruling,
        outcome="blocked_policy",
        rule_id=MODERATION,
        rule_version=1,
        reason=judged.message[:500],
        error_class=judged.ending[1],
        approval_id=None,
    )


def _terms(ruling: Ruling) -> CallTerms | None:
    tool = ruling.tool
    if tool is None:
        return None
    return CallTerms(tool.terms.tool_name, tool.terms.version, tool.max_attempts, tool.timeout_seconds)


def _held(run: HeldRun) -> dict[str, Any]:
    return {"run_id": run.run_id, "lease_token": run.lease_token}
