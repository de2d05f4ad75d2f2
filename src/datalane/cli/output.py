"""What commands print: text for people, one JSON object per line for machines. Faults go the same two ways."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import orjson
import typer

from datalane.errors import DatalaneError

EXPECTED_FAULT = 2
"""The exit status of a command that met a fault with a name."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def print_json(value: Any) -> None:
    """One line, flushed, so that a reader on a pipe sees it at once."""
    sys.stdout.write(orjson.dumps(value, default=str).decode() + "\n")
    sys.stdout.flush()


def print_fault(error: DatalaneError, as_json: bool) -> None:
    """`error: …` on stderr, or `{"error": {…}}` on stdout."""
    if as_json:
        fault: dict[str, Any] = {"code": error.code, "message": str(error)}
        if details := getattr(error, "errors", None):
            fault["errors"] = details
        print_json({"error": fault})
    else:
        typer.echo(f"error: {error}", err=True)


def printable(text: str) -> str:
    """What somebody wrote, without control characters that the terminal would obey."""
    return "".join(one if one.isprintable() or one == "\n" else "\ufffd" for one in text)
