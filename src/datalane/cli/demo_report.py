"""What people see of the demo at its end: tables."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from datalane.demo.run import Report


def print_report(report: Report) -> None:
    """Three small tables: ingestion, retrieval, proofs."""
    numbers, console = report.as_dict(), Console()
    console.print(_ingestion(numbers))
    console.print(_retrieval(numbers))
    console.print(_proofs(numbers))
    verdict = "everything held" if report.holds else "[bold red]something that must not happen has happened[/]"
    console.print(f"  {verdict}\n")


def _ingestion(numbers: dict[str, Any]) -> Table:
    table = Table(title=f"Ingestion of {numbers['corpus']}", title_justify="left")
    for name in ("documents", "searchable", "failed", "chunks", "seconds", "documents/s"):
        table.add_column(name, justify="right")
    failures = ", ".join(f"{one['document']} {one['error_class']}" for one in numbers["failures"][:5])
    table.add_row(
        f"{numbers['documents']:,}",
        f"{numbers['documents_searchable']:,}",
        f"{numbers['documents_failed']}" + (f" ({failures})" if failures else ""),
        f"{numbers['chunks']:,}",
        f"{numbers['ingest_seconds']:.1f}",
        f"{numbers['documents_per_second']:,.0f}",
    )
    return table


def _retrieval(numbers: dict[str, Any]) -> Table:
    table = Table(title=f"Retrieval, {numbers['queries']} queries", title_justify="left")
    table.add_column("method")
    for name in ("nDCG@10", "recall@100", "p50 ms", "p95 ms"):
        table.add_column(name, justify="right")
    for method, row in numbers["methods"].items():
        table.add_row(
            method,
            *(_number(row[name], 3) for name in ("ndcg_at_10", "recall_at_100")),
            *(_number(row[name], 1) for name in ("p50_ms", "p95_ms")),
        )
    table.add_row("all", "", "", _number(numbers["query_p50_ms"], 1), _number(numbers["query_p95_ms"], 1))
    return table


def _proofs(numbers: dict[str, Any]) -> Table:
    table = Table(title="Proofs", title_justify="left")
    table.add_column("of")
    table.add_column("tried", justify="right")
    table.add_column("failed", justify="right")
    table.add_row(
        "citations against the stored text", str(numbers["citations_checked"]), str(numbers["citations_failed"])
    )
    presence, conformance = numbers["assistant_citation_presence"], numbers["assistant_conformance"]
    sentences, questions = numbers["assistant_sentences"], numbers["assistant_questions"]
    table.add_row("sentences of the agent without a citation", str(sentences), f"{1 - presence:.1%}")
    table.add_row("outputs of the agent out of shape", str(questions), f"{1 - conformance:.1%}")
    costs = "0" if numbers["assistant_costs_reconcile"] else "1"
    table.add_row("costs of runs, steps and counter that differ", "1", costs)
    tried = str(numbers["foreign_rows_attempts"])
    table.add_row("rows of another workspace seen", tried, str(numbers["foreign_rows"]))
    table.add_row("rows of another workspace changed", tried, str(numbers["foreign_writes"]))
    table.add_row("foreign told from missing", tried, str(numbers["not_found_differences"]))
    return table


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
