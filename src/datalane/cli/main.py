"""The command line. Each command lives in its own module and is added here.

Exit status: 0 it worked, 1 a check found faults, 2 an expected fault (or wrong usage) with its message.
"""

from __future__ import annotations

import sys

import typer

from datalane.cli.audit import audit
from datalane.cli.authz import authz
from datalane.cli.contracts import contracts
from datalane.cli.demo import demo
from datalane.cli.doctor import doctor
from datalane.cli.files import files
from datalane.cli.guard import guard
from datalane.cli.init import init
from datalane.cli.isolation import isolation
from datalane.cli.jobs import jobs
from datalane.cli.migrate import migrate
from datalane.cli.output import EXPECTED_FAULT, print_fault
from datalane.cli.serve import api, maintenance, worker
from datalane.cli.up import up
from datalane.cli.version import version
from datalane.errors import DatalaneError

app = typer.Typer(
    name="datalane",
    help="One tenant-safe data lane in one Postgres: events, jobs, documents and checkable answers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for command in (up, demo, init, doctor, api, worker, maintenance, version):
    app.command()(command)
app.add_typer(migrate, name="migrate")
app.add_typer(jobs, name="jobs")
app.add_typer(authz, name="authz")
app.add_typer(files, name="files")
app.add_typer(audit, name="audit")
app.add_typer(guard, name="guard")
app.add_typer(contracts, name="contracts")
app.add_typer(isolation, name="isolation")


def main() -> None:
    """The console script. Expected faults become a message and a status, never a traceback."""
    try:
        app()
    except DatalaneError as error:
        print_fault(error, as_json="--json" in sys.argv[1:])
        raise SystemExit(EXPECTED_FAULT) from None


if __name__ == "__main__":
    main()
