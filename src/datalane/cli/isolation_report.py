"""What people see of the isolation proof: the numbers, and every fault by name."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from datalane.ops.isolation.report import Report

_MOST_SHOWN = 20


def print_report(report: Report) -> None:
    """One table, then what was found, at most twenty of each kind; `--json` has all of it."""
    console, numbers = Console(), report.as_dict()
    table = Table(title="Isolation", title_justify="left")
    for column in ("", "number"):
        table.add_column(column, justify="right" if column else "left")
    routes = f"{numbers['routes']}" if report.routes else "0 (not proved here)"
    killed = ", ".join(f"{count:,} by {killer}" for killer, count in numbers["killed_by"].items())
    for name, value in (
        ("tables", f"{numbers['tables']:,}"),
        ("verbs", f"{numbers['verbs']:,}"),
        ("routes", routes),
        ("cells", f"{numbers['cells']:,}"),
        ("  that cannot be tried", f"{numbers['not_applicable']:,}"),
        ("leaks", f"{numbers['leaks']:,}"),
        ("too tight", f"{numbers['too_tight']:,}"),
        ("uncovered", f"{numbers['uncovered']:,}"),
        ("faults by rule", f"{numbers['rule_faults']:,}"),
        ("mutants", f"{numbers['mutants']:,}"),
        ("  killed", f"{numbers['killed']:,}" + (f" ({killed})" if killed else "")),
        ("  survivors", f"{numbers['survivors']:,}"),
        ("seconds", f"{numbers['seconds']:.1f}"),
    ):
        table.add_row(name, value)
    console.print(table)
    cells = [f"{cell.subject}, {cell.probe}, {cell.actor}: {cell.detail}" for cell in report.leaks]
    _list(console, "Leaks", cells)
    tight = [f"{cell.subject}, {cell.probe}, {cell.actor}: {cell.detail}" for cell in report.too_tight]
    _list(console, "Too tight", tight)
    _list(console, "Uncovered", [f"{one.subject}: {one.why}" for one in report.all_uncovered])
    _list(console, "Faults by rule", [f"{fault.subject}: {fault.says} ({fault.kind})" for fault in report.faults])
    _list(console, "Survivors", report.survivors)
    console.print("  the wall holds\n" if report.holds else "  [bold red]the wall is not proved[/]\n")


def _list(console: Console, title: str, lines: Sequence[str]) -> None:
    if not lines:
        return
    console.print(f"\n[bold]{title}[/]")
    for line in lines[:_MOST_SHOWN]:
        console.print(f"  {escape(line)}", soft_wrap=True)
    if len(lines) > _MOST_SHOWN:
        console.print(f"  … and {len(lines) - _MOST_SHOWN} more; --json has all")
