"""`datalane contracts`: export what others rely on, and see before a merge what a change does to them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datalane.cli.output import AsJson, print_json
from datalane.errors import InvalidInput
from datalane.settings import load_settings

if TYPE_CHECKING:
    from datalane.cli.stored_events import StoredReport
    from datalane.contracts.exports import Contracts
    from datalane.contracts.review import Review

contracts = typer.Typer(help="Export, check, compare and approve changes of contracts.", no_args_is_help=True)

Folder = Annotated[Path, typer.Option("--folder", help="Where the exported contracts lie.")]
App = Annotated[str | None, typer.Option(help="Your lane with its event types and handlers, as module:lane.")]
Against = Annotated[
    str | None,
    typer.Option("--against", help="Compare with a folder, or with --folder at a git revision, instead."),
]
_FOLDER = Path("contracts")


@contracts.command()
def export(
    folder: Folder = _FOLDER,
    app: App = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also when something breaks that nobody approved: before a first release.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write the code's contracts. Refuses while a break is neither versioned nor approved."""
    from datalane.cli.contract_texts import describe_breaks
    from datalane.contracts.exports import read_folder, write_folder

    current, review = _review(folder, read_folder(folder), app)
    if review.breaks and not replace:
        if as_json:
            print_json({"ok": False, "written": [], "breaks": [each.as_dict() for each in review.breaks]})
        else:
            typer.echo(describe_breaks(review.breaks))
            typer.echo("nothing was exported; --replace exports all the same, for contracts that nobody reads yet")
        raise typer.Exit(1)
    written = write_folder(folder, current)
    if as_json:
        print_json({"ok": True, "written": written, "contracts": len(current.files)})
    else:
        typer.echo(f"{len(written)} of {len(current.files)} files written to {folder}")


@contracts.command()
def check(
    folder: Folder = _FOLDER,
    app: App = None,
    against: Against = None,
    stored: Annotated[
        bool, typer.Option("--stored", help="Also check stored events, in the configured or the running lane.")
    ] = False,
    database_url: Annotated[
        str | None,
        typer.Option("--database-url", help="The same in the database of this URL.", envvar=None, show_default=False),
    ] = None,
    workspace: Annotated[
        list[str] | None,
        typer.Option("--workspace", "-w", help="Only events of this workspace; needs no operator login. Repeatable."),
    ] = None,
    last: Annotated[
        int, typer.Option("--last", min=1, max=100_000, help="So many events of each type, the newest.")
    ] = 100,
    as_json: AsJson = False,
) -> None:
    """Fail on a breaking change without a version or an approval, and on exports that are not those of the code."""
    from datalane.cli.contract_texts import describe_check

    _, review = _review(folder, _baseline(folder, against), app)
    report = _check_stored(database_url, workspace or [], last) if stored or database_url or workspace else None
    ok = not (review.breaks or review.drift or (report is not None and report.faults))
    if as_json:
        print_json(_as_dict(ok, review, report))
    else:
        typer.echo(describe_check(ok, review, report))
    raise typer.Exit(0 if ok else 1)


@contracts.command()
def diff(folder: Folder = _FOLDER, app: App = None, against: Against = None, as_json: AsJson = False) -> None:
    """Print what the code adds, changes, deprecates and removes, as a document to hand over."""
    from datalane.cli.contract_texts import handoff

    _, review = _review(folder, _baseline(folder, against), app)
    if as_json:
        print_json({"differences": [each.as_dict() for each in review.findings], "drift": list(review.drift)})
    else:
        typer.echo(handoff(review), nl=False)


@contracts.command()
def approve(
    fingerprints: Annotated[
        list[str], typer.Argument(metavar="FINGERPRINT…", help="The breaks, as `check` prints them.")
    ],
    reason: Annotated[str | None, typer.Option("--reason", help="Why it may break.", show_default=False)] = None,
    owner: Annotated[str | None, typer.Option("--owner", help="Who answers for it.", show_default=False)] = None,
    folder: Folder = _FOLDER,
    app: App = None,
    as_json: AsJson = False,
) -> None:
    """Record that somebody answers for a break. It covers exactly that difference, and no later one."""
    from datalane.contracts.consumers import Approval, add_approvals, checked_approval, today
    from datalane.contracts.exports import read_folder

    said = {"reason": checked_approval("reason", reason), "owner": checked_approval("owner", owner), "date": today()}
    _, review = _review(folder, read_folder(folder), app)
    breaks = {each.fingerprint: each for each in review.breaks}
    unknown = [fingerprint for fingerprint in fingerprints if fingerprint not in breaks]
    if unknown:
        known = ", ".join(sorted(breaks)) or "there is none"
        raise InvalidInput(f"no break that waits for approval is called {', '.join(unknown)}; waiting: {known}")
    approvals = [
        Approval(each.contract, each.difference.path, each.difference.kind, each.fingerprint, **said)
        for each in (breaks[fingerprint] for fingerprint in dict.fromkeys(fingerprints))
    ]
    add_approvals(folder, approvals)
    if as_json:
        print_json({"approved": [each.as_dict() for each in approvals]})
    else:
        for each in approvals:
            typer.echo(f"approved {each.fingerprint}: {each.contract} {each.path} {each.kind.replace('_', ' ')}")


def _review(folder: Path, exported: Contracts, app: str | None) -> tuple[Contracts, Review]:
    """The code's contracts, and how they differ from `exported`."""
    from datalane.cli.described import describe_code
    from datalane.cli.lanes import load_lane
    from datalane.contracts.consumers import read_approvals, read_consumers
    from datalane.contracts.review import review_contracts

    handlers: dict[str, list[str]] = {}
    for handler in load_lane(app).handlers.events:
        handlers.setdefault(handler.event_type, []).append(handler.kind)
    current = describe_code()
    return current, review_contracts(exported, current, read_consumers(folder), read_approvals(folder), handlers)


def _baseline(folder: Path, against: str | None) -> Contracts:
    from datalane.cli.git_exports import read_revision
    from datalane.contracts.exports import read_folder

    if against is None:
        return read_folder(folder)
    return read_folder(Path(against)) if Path(against).is_dir() else read_revision(against, folder)


def _check_stored(database_url: str | None, workspaces: list[str], last: int) -> StoredReport:
    from pydantic import SecretStr

    from datalane.cli.office import parse_id
    from datalane.cli.stored_events import check_stored_events
    from datalane.contracts.registry import EVENTS

    settings = load_settings()
    if database_url is not None:
        settings.database_url = SecretStr(database_url)
    homes = [parse_id(text, "a workspace") for text in workspaces]
    return asyncio.run(check_stored_events(settings, list(EVENTS), last, homes))


def _as_dict(ok: bool, review: Review, report: StoredReport | None) -> dict[str, Any]:
    stored = None
    if report is not None:
        faults = [each.as_dict() for each in report.faults]
        stored = {"events": report.events, "workspaces": report.workspaces, "faults": faults}
    return {
        "ok": ok,
        "breaks": [each.as_dict() for each in review.breaks],
        "approved": [each.as_dict() for each in review.approved],
        "drift": list(review.drift),
        "added_versions": list(review.added_versions),
        "stored": stored,
    }
