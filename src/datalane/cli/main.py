"""The command line. Each command lives in its own module, which `datalane.cli.commands` names.

Exit status: 0 it worked, 1 a check found faults, 2 an expected fault (or wrong usage) with its message.
"""

from __future__ import annotations

import gc
import sys

import typer

from datalane.cli.commands import Commands
from datalane.errors import DatalaneError

_COLLECT_AFTER = 50_000
"""New objects between two looks for garbage. Python's own 700 makes it look 200 times while a process loads its code,
which has no garbage, and takes a tenth of that time."""

app = typer.Typer(
    name="datalane",
    cls=Commands,
    help="One tenant-safe data lane in one Postgres: events, jobs, documents and checkable answers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _all() -> None:
    """The help stands above."""


def main() -> None:
    """The console script. Expected faults become a message and a status, never a traceback."""
    gc.set_threshold(_COLLECT_AFTER)
    try:
        app()
    except DatalaneError as error:
        from datalane.cli.output import EXPECTED_FAULT, print_fault

        print_fault(error, as_json="--json" in sys.argv[1:])
        raise SystemExit(EXPECTED_FAULT) from None


if __name__ == "__main__":
    main()
