"""`datalane jobs`: look at jobs, and do what an operator does with those that stopped.

Without `--workspace` a command looks across workspaces as the operator login, which sees operational columns only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from datalane.cli.output import AsJson, print_json
from datalane.errors import Conflict, InvalidInput
from datalane.settings import load_settings

if TYPE_CHECKING:
    from uuid import UUID

    from datalane.cli.job_operations import JobsOffice, Outcome, Verb
    from datalane.engine.jobs import JobChange, JobState

T = TypeVar("T")

jobs = typer.Typer(help="List, show, retry, replay, cancel, skip, pause and resume jobs.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The job's id.", show_default=False)]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID…", help="Ids of jobs.", show_default=False)]
Workspace = Annotated[
    str | None, typer.Option("--workspace", "-w", help="The id of one workspace; without it, every workspace.")
]
Status = Annotated[str | None, typer.Option("--status", "-s", help="Only jobs of this status.")]
Kind = Annotated[str | None, typer.Option("--kind", "-k", help="Only jobs of this kind.")]
ErrorClass = Annotated[str | None, typer.Option("--error-class", help="Only jobs whose last error has this class.")]
Everything = Annotated[bool, typer.Option("--all", help="Every job that the verb fits, in every workspace.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count, and change nothing.")]
PausedKind = Annotated[str, typer.Option("--kind", "-k", help="The kind of jobs; '*' is every kind.")]


@jobs.command("list")
def list_jobs(
    status: Status = None,
    kind: Kind = None,
    error_class: ErrorClass = None,
    subject: Annotated[str | None, typer.Option("--subject", help="Only jobs about this.")] = None,
    correlation: Annotated[str | None, typer.Option("--correlation", help="Only jobs of this correlation id.")] = None,
    workspace: Workspace = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000, help="At most so many.")] = 25,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first. Without --status: those that have not completed."""
    from datalane.cli.job_tables import print_jobs

    _check_status(status)
    office, home = _office(), _workspace(workspace)
    asked = {"kind": kind, "error_class": error_class, "subject_id": subject, "correlation_id": correlation}
    listed = _run(office.list_jobs(home, status, asked, limit))
    if as_json:
        print_json({"jobs": listed})
    else:
        print_jobs(listed, with_workspace=home is None)


@jobs.command()
def show(job_id: Id, workspace: Workspace = None, as_json: AsJson = False) -> None:
    """Show one job with every change of its status."""
    from dataclasses import asdict

    from datalane.cli.job_tables import print_job

    office, wanted, home = _office(), _job_id(job_id), _workspace(workspace)
    job, changes = _run(_look(office, wanted, home))
    if as_json:
        print_json({"job": asdict(job), "changes": [asdict(change) for change in changes]})
    else:
        print_job(job, changes)


async def _look(office: JobsOffice, job_id: UUID, workspace_id: UUID | None) -> tuple[JobState, list[JobChange]]:
    from datalane.contracts.context import Context
    from datalane.engine.jobs import get_job, list_changes

    (home,) = await office.locate([job_id], workspace_id)
    async with office.database() as database, database.transaction(Context.system(home)) as tx:
        return await get_job(tx, job_id), await list_changes(tx, job_id)


@jobs.command()
def retry(
    ids: Ids = None,
    status: Status = None,
    kind: Kind = None,
    error_class: ErrorClass = None,
    workspace: Workspace = None,
    everything: Everything = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Put failed jobs back to work in place."""
    from datalane.cli.job_operations import RETRY

    _operate(RETRY, ids, (status, kind, error_class, workspace), everything, dry_run, as_json)


@jobs.command()
def replay(
    ids: Ids = None,
    status: Status = None,
    kind: Kind = None,
    error_class: ErrorClass = None,
    workspace: Workspace = None,
    everything: Everything = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Start dead letters again as new jobs; each can be replayed once."""
    from datalane.cli.job_operations import REPLAY

    _operate(REPLAY, ids, (status, kind, error_class, workspace), everything, dry_run, as_json)


@jobs.command()
def cancel(
    ids: Ids = None,
    status: Status = None,
    kind: Kind = None,
    error_class: ErrorClass = None,
    workspace: Workspace = None,
    everything: Everything = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """End jobs that have not ended; a running handler loses its lease."""
    from datalane.cli.job_operations import CANCEL

    _operate(CANCEL, ids, (status, kind, error_class, workspace), everything, dry_run, as_json)


@jobs.command()
def skip(job_id: Id, workspace: Workspace = None, as_json: AsJson = False) -> None:
    """Let the jobs behind a stopped job of an ordering key go on without it."""
    office, wanted, home = _office(), _job_id(job_id), _workspace(workspace)
    _run(_skip(office, wanted, home))
    if as_json:
        print_json({"verb": "skip", "jobs": 1})
    else:
        typer.echo(f"skipped {wanted}")


async def _skip(office: JobsOffice, job_id: UUID, workspace_id: UUID | None) -> None:
    from datalane.contracts.context import Context
    from datalane.engine.jobs import get_job, skip_job

    (home,) = await office.locate([job_id], workspace_id)
    async with office.database() as database, database.transaction(Context.system(home)) as tx:
        job = await get_job(tx, job_id)
        if not await skip_job(tx, job_id):
            what = f"job {job_id} is {job.status}" + ("" if job.order_key else " and has no ordering key")
            raise Conflict(f"{what}; only a failed or dead job that others of its ordering key wait for is skipped")


@jobs.command()
def pause(kind: PausedKind, workspace: Workspace = None, as_json: AsJson = False) -> None:
    """Claim no more jobs of a kind, in one workspace or everywhere. Running ones end."""
    _set_pause(True, kind, workspace, as_json)


@jobs.command()
def resume(kind: PausedKind, workspace: Workspace = None, as_json: AsJson = False) -> None:
    """Claim jobs of a kind again. What was paused everywhere is resumed everywhere."""
    _set_pause(False, kind, workspace, as_json)


def _set_pause(paused: bool, kind: str, workspace: str | None, as_json: bool) -> None:
    office, home = _office(), _workspace(workspace)
    _run(office.set_pause(kind, home, paused))
    if as_json:
        print_json({"kind": kind, "workspace_id": home, "paused": paused})
    else:
        where = "everywhere" if home is None else f"in workspace {home}"
        typer.echo(f"{'paused' if paused else 'resumed'} {kind} {where}")


def _operate(
    verb: Verb,
    ids: list[str] | None,
    choice: tuple[str | None, str | None, str | None, str | None],
    everything: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Do `verb` to `ids`, or to what the filter (status, kind, error class, workspace) matches."""
    from datalane.cli.job_operations import Filter

    status, kind, error_class, workspace = choice
    office, home = _office(), _workspace(workspace)
    if ids:
        if status or kind or error_class or everything:
            raise InvalidInput("give ids or a filter, not both")
        outcome = _run(office.act_on(verb, [_job_id(text) for text in ids], home, dry_run))
    else:
        _check_status(status)
        if status is not None and status not in verb.statuses:
            advice = verb.advice.get(status, f"it takes {' or '.join(verb.statuses)}")
            raise InvalidInput(f"{verb.name} does not fit {status} jobs; {advice}")
        if not (kind or error_class or home or everything):
            raise InvalidInput(
                "give ids, or say which jobs with --kind, --error-class or --workspace; --all takes every one"
            )
        wanted = Filter((status,) if status else verb.statuses, kind, error_class)
        outcome = _run(office.act_where(verb, wanted, home, dry_run))
    _print_outcome(verb, outcome, dry_run, as_json)


def _print_outcome(verb: Verb, outcome: Outcome, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "verb": verb.name,
                "dry_run": dry_run,
                "jobs": outcome.total,
                "workspaces": [{"workspace_id": home, "jobs": count} for home, count in outcome.jobs.items()],
                "new_ids": {str(old): new for old, new in outcome.new_ids.items()},
            }
        )
        return
    count = f"{outcome.total:,} job{'' if outcome.total == 1 else 's'}"
    homes = f"{len(outcome.jobs):,} workspace{'' if len(outcome.jobs) == 1 else 's'}"
    if dry_run:
        typer.echo(f"would {verb.name} {count} in {homes}; nothing was changed")
        return
    typer.echo(f"{verb.done} {count} in {homes}")
    if outcome.total <= _SHOWN_IDS:
        for old, new in outcome.new_ids.items():
            typer.echo(f"  {old} is now {new}")


_SHOWN_IDS = 20


def _office() -> JobsOffice:
    from datalane.cli.job_operations import JobsOffice

    return JobsOffice(load_settings())


def _workspace(text: str | None) -> UUID | None:
    from datalane.cli.office import parse_id

    return None if text is None else parse_id(text, "a workspace")


def _job_id(text: str) -> UUID:
    from datalane.cli.office import parse_id

    return parse_id(text, "a job")


def _check_status(status: str | None) -> None:
    from datalane.engine.states import JOB

    if status is not None and status not in JOB.states:
        raise InvalidInput(f"unknown status {status!r}; one of {', '.join(JOB.states)}")


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)
