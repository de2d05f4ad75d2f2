"""What people see of runs of agents, but for a whole one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from datalane.cli.job_tables import console
from datalane.cli.output import printable

if TYPE_CHECKING:
    from datalane.agents.rollback.schemas import RollbackSummary, TouchedEvaluation
    from datalane.cli.agent_lookup import Report


def print_runs(rows: Sequence[Mapping[str, Any]], with_workspace: bool) -> None:
    if not rows:
        console().print("no runs")
        return
    names = ("agent", "status", "attempts", "asked for", "seconds", "tokens", "cost", "error")
    table = _table("id", *(("workspace",) if with_workspace else ()), *names)
    for row in rows:
        ended, began = row["completed_at"], row["created_at"]
        cells = (
            row["agent"],
            row["status"],
            f"{row['attempt_count']}/{row['max_attempts']}",
            f"{began:%Y-%m-%d %H:%M:%S}",
            f"{(ended - began).total_seconds():,.1f}" if ended else "",
            told_tokens(row),
            told_cost(row),
            row["error_class"] or "",
        )
        home = (str(row["workspace_id"]),) if with_workspace else ()
        table.add_row(str(row["run_id"]), *home, *(Text(printable(cell)) for cell in cells))
    console().print(table)


def told_change(change: Mapping[str, Any]) -> str:
    """One line of a change of status."""
    what = f"call of {change['tool_name']} {change['tool_call_id']}" if change["tool_call_id"] else "run"
    told = f"{change['at']:%H:%M:%S.%f}"[:-3] + f" {change['run_id']} {change['agent']}: {what} "
    told += f"{change['from_status'] or '-'} > {change['to_status']}, attempt {change['attempt']}"
    told += f" at {change['runtime']}" if change["runtime"] else ""
    told += f" ({change['reason']})" if change["reason"] else ""
    error = ": ".join(part for part in (change["error_class"], change["error_message"]) if part)
    return printable(told + (f"; {error}" if error else "")).replace("\n", " ")


def told_tokens(row: Mapping[str, Any]) -> str:
    """What is known of them; nothing where nothing is."""
    said = (
        (row["input_tokens"], row["cached_input_tokens"], "in", "cached"),
        (row["output_tokens"], row["reasoning_tokens"], "out", "reasoning"),
    )
    return ", ".join(
        f"{whole:,} {name}" + (f" ({part:,} {of_it})" if part else "")
        for whole, part, name, of_it in said
        if whole is not None
    )


def told_cost(row: Mapping[str, Any]) -> str:
    """The cost, or what is known of it and of how many steps it is not."""
    known, currency, unpriced = row["known_cost"], row["currency"], row["unpriced_steps"]
    if currency is None:
        return f"not known of {unpriced:,} steps" if unpriced else ""
    return f"{_exact(known)} {currency}" + (f" and {unpriced:,} steps not known" if unpriced else "")


def print_report(report: Report, limit: int) -> None:
    """The sums, and the newest `limit` runs."""
    out = console()
    out.print(_sums(report.summary, report.sums()))
    if report.evaluations:
        out.print()
        out.print(_evaluations(report.evaluations))
    shown = report.runs[:limit]
    if shown:
        table = _table(
            "id", "agent", "status", "conforms", "steps", "calls", "cost", "asked for", "answers (citations)"
        )
        for run in shown:
            given = report.answers.get(run.run_id, [])
            cells = (
                run.agent,
                run.status,
                {None: "", True: "yes", False: "no"}[run.conforms],
                f"{run.steps:,} ({run.named_steps:,})",
                f"{run.tool_calls:,} ({run.named_calls:,})",
                told_cost(run.model_dump()),
                f"{run.created_at:%Y-%m-%d %H:%M:%S}",
                ", ".join(f"{answer['response_id']} ({answer['citations']:,})" for answer in given),
            )
            table.add_row(str(run.run_id), *(Text(printable(cell)) for cell in cells))
        out.print()
        out.print(table)
    if len(report.runs) > len(shown):
        out.print(f"and {len(report.runs) - len(shown):,} more; --json has all")


def _sums(summary: RollbackSummary, sums: Mapping[str, Any]) -> Table:
    table = Table(box=None, show_header=False)
    for name in ("runs", "steps", "tool calls", "answers"):
        count = f"{sums[name.replace(' ', '_')]:,}"
        named = {"steps": summary.named_steps, "tool calls": summary.named_calls}.get(name)
        count += "" if named is None else f", {named:,} by what is asked about"
        count += f", with {sums['citations']:,} citations" if name == "answers" else ""
        table.add_row(name, count)
    table.add_row("by status", ", ".join(f"{count:,} {status}" for status, count in sorted(summary.by_status.items())))
    by = summary.by_conformance
    told = f"{by.conforming:,} as their schema says, {by.not_conforming:,} not, {by.unknown:,} not known"
    table.add_row("outputs", told)
    for each in summary.costs:
        of_it = f"{_exact(each.named_cost)} by what is asked about"
        table.add_row("cost", f"{_exact(each.known_cost)} {each.currency}, {of_it}")
    if summary.unpriced_steps:
        table.add_row("cost", f"not known of {summary.unpriced_steps:,} steps")
    if summary.first_at is not None and summary.last_at is not None:
        table.add_row("asked for", f"{summary.first_at:%Y-%m-%d %H:%M:%S} to {summary.last_at:%Y-%m-%d %H:%M:%S}")
    return table


def _evaluations(evaluations: Sequence[TouchedEvaluation]) -> Table:
    table = _table("evaluation", "agent", "dataset", "scores (change)", "beside", "made")
    for each in evaluations:
        told = ", ".join(
            f"{name} {score.value:.4f}" + (f" ({each.change[name]:+.4f})" if name in each.change else "")
            for name, score in (each.scores or {}).items()
        )
        cells = (each.agent, f"{each.dataset} {each.dataset_version}", told or "refused")
        beside = "" if each.baseline_id is None else str(each.baseline_id)
        made = f"{each.created_at:%Y-%m-%d %H:%M:%S}"
        table.add_row(str(each.evaluation_id), *(Text(printable(cell)) for cell in cells), beside, made)
    return table


def _exact(amount: Decimal) -> str:
    """Every digit, and no zeros behind them."""
    text = f"{amount:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _table(*names: str) -> Table:
    table = Table(box=None)
    for name in names:
        table.add_column(name, overflow="fold", no_wrap=name == "asked for")
    return table
