"""What people see of one run: everything in the order in which it was recorded, and the runs inside it as branches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import orjson
from rich.text import Text
from rich.tree import Tree

from datalane.agents.runs.schemas import AgentRunTrace, AgentStep, ToolCall, Transition
from datalane.agents.safety.schemas import AgentModeration
from datalane.cli.agent_tables import told_cost, told_tokens
from datalane.cli.job_tables import console
from datalane.cli.output import printable

if TYPE_CHECKING:
    from datalane.cli.agent_lookup import RunTree

_SHOWN = 200
"""Characters of an input, an output, arguments or a result; with --json they are whole."""


def print_tree(tree: RunTree) -> None:
    """Times are since the outermost run was asked for."""
    console().print(_branch(tree, tree.run.created_at))


def _branch(tree: RunTree, zero: datetime) -> Tree:
    run = tree.run
    branch = Tree(_text(f"run {run.run_id} of {run.agent}: {_ending(run)}"))
    for line in _about(run):
        branch.add(_text(line))
    _add_entries(branch, run, zero)
    _add_values(branch, run.artifacts_forgotten, input=run.input, output=run.output)
    for moderation in run.moderations:
        branch.add(_text(f"{_since(zero, moderation.at)} {_moderation(moderation)}"))
    for inner in tree.inner:
        branch.add(_branch(inner, zero))
    if tree.is_cut:
        branch.add(_text("more runs inside it are not shown"))
    return branch


def _ending(run: AgentRunTrace) -> str:
    over = f"{run.status} after {_seconds(run.created_at, run.completed_at)}" if run.completed_at else run.status
    return over + _error(run.error_class, run.error_message)


def _about(run: AgentRunTrace) -> Iterator[str]:
    yield (
        f"asked for {run.created_at:%Y-%m-%d %H:%M:%S} by {run.actor_id}, attempt {run.attempt_count} of "
        f"{run.max_attempts}, correlation id {run.correlation_id}"
    )
    if run.thread_id is not None:
        yield f"in thread {run.thread_id}"
    counted = run.model_dump()
    used = [part for part in (told_tokens(counted), told_cost(counted)) if part]
    if used:
        yield f"used {'; '.join(used)}"
    versions = {"prompt": run.prompt_version_id, "model": run.model_version_id}
    versions["output schema"] = run.output_schema_version_id
    if named := [f"{name} {version}" for name, version in versions.items() if version is not None]:
        yield f"versions: {', '.join(named)}"
    if run.conforms is not None:
        yield "the output is as its schema says" if run.conforms else "the output is not as its schema says"


def _add_entries(branch: Tree, run: AgentRunTrace, zero: datetime) -> None:
    """Steps, calls and what befell the run; that it waits for its calls is seen from those."""
    changes = [each for each in run.transitions if each.tool_call_id is None and not _is_waiting(each)]
    entries: list[AgentStep | ToolCall | Transition] = [*run.steps, *run.tool_calls, *changes]
    for entry in sorted(entries, key=lambda each: each.ordinal):
        if isinstance(entry, AgentStep):
            leaf = branch.add(_text(f"{_since(zero, entry.started_at)} {_step(entry)}"))
            _add_values(leaf, run.artifacts_forgotten, input=entry.input, output=entry.output)
        elif isinstance(entry, ToolCall):
            leaf = branch.add(_text(f"{_since(zero, entry.requested_at)} {_call(entry)}"))
            of_it = [each for each in run.transitions if each.tool_call_id == entry.tool_call_id]
            for line in _attempts(of_it, zero) if entry.attempt_count > 1 else ():
                leaf.add(_text(line))
            _add_values(leaf, run.artifacts_forgotten, arguments=entry.arguments, result=entry.result)
        else:
            branch.add(_text(f"{_since(zero, entry.at)} {_change(entry)}"))


def _is_waiting(change: Transition) -> bool:
    return change.reason is None and "waiting_tool" in (change.from_status, change.to_status)


def _step(step: AgentStep) -> str:
    told = f"{step.kind} {step.name}" + (f", attempt {step.attempt}" if step.attempt > 1 else "")
    used = [_seconds(step.started_at, step.ended_at), told_tokens(step.model_dump())]
    if step.kind == "model":
        used.append("cost not known" if step.cost is None else f"cost {step.cost:f}")
    return f"{told}: {', '.join(part for part in used if part)}{_error(step.error_class, step.error_message)}"


def _call(call: ToolCall) -> str:
    version = "" if call.tool_version is None else f" v{call.tool_version}"
    told = f"call of {call.tool_name}{version}: {call.status}"
    if call.started_at is not None and call.ended_at is not None:
        told += f" in {_seconds(call.started_at, call.ended_at)}"
    told += f", attempt {call.attempt_count} of {call.max_attempts}" if call.attempt_count else ""
    told += ", done before under its idempotency key" if call.is_replay else ""
    told += f"; by rule {call.rule_id} v{call.rule_version}" + (f": {call.reason}" if call.reason else "")
    if call.needs_approval:
        decided = {None: "waits for a person", True: "approved", False: "not approved"}[call.is_approved]
        told += f"; {decided}" + (f" by {call.decided_by_actor_id}" if call.decided_by_actor_id else "")
    return told + _error(call.error_class, call.error_message)


def _moderation(moderation: AgentModeration) -> str:
    told = f"{moderation.subject} {moderation.outcome} by {moderation.judged_by}"
    told += f" ({moderation.category})" if moderation.category else ""
    told += f": {moderation.reason}" if moderation.reason else ""
    if moderation.citation_ids:
        told += f"; citations suppressed: {', '.join(map(str, moderation.citation_ids))}"
    return told


def _attempts(changes: Sequence[Transition], zero: datetime) -> Iterator[str]:
    """Each attempt with what came of it."""
    for began, after in pairwise([*changes, None]):
        if began is None or began.to_status != "executing":
            continue
        told = f"{_since(zero, began.at)} attempt {began.attempt}"
        if after is not None:
            told += f": {after.to_status} after {_seconds(began.at, after.at)}"
            told += _error(after.error_class, after.error_message)
        yield told


def _change(change: Transition) -> str:
    told = change.to_status + (f", attempt {change.attempt}" if change.to_status == "running" else "")
    told += f" at {change.runtime}" if change.to_status == "running" and change.runtime else ""
    told += f" ({change.reason})" if change.reason else ""
    return told + _error(change.error_class, change.error_message)


def _add_values(leaf: Tree, is_forgotten: bool, **values: Any) -> None:
    for name, value in values.items():
        if value is not None:
            leaf.add(_text(f"{name}: {_shortened(value)}"))
        elif is_forgotten and name in ("output", "result"):
            leaf.add(_text(f"{' and '.join(values)} are forgotten"))


def _shortened(value: Any) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _error(error_class: str | None, message: str | None) -> str:
    told = ": ".join(part for part in (error_class, message) if part)
    return f"; {told}" if told else ""


def _since(zero: datetime, moment: datetime) -> str:
    return f"+{_seconds(zero, moment)}"


def _seconds(began: datetime, ended: datetime) -> str:
    return f"{(ended - began).total_seconds():,.3f} s"


def _text(told: str) -> Text:
    """As it was written, without marks or control characters that the terminal would obey."""
    return Text(printable(told).replace("\n", " "))
