"""`datalane agents`: look at runs of agents, follow them, evaluate the assistant, and find what came of a version that
is taken back.

`list` works without `--workspace` too, as the operator login, which sees operational columns only.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from datalane.cli.output import AsJson, print_json
from datalane.errors import InvalidInput
from datalane.settings import load_settings

if TYPE_CHECKING:
    from uuid import UUID

    from datalane.cli.agent_evaluation import Asked, Evaluated
    from datalane.cli.agent_lookup import AgentsOffice

_BELOW = 1
_INTERRUPTED = 130

agents = typer.Typer(
    help="List, show and follow runs of agents; evaluate them; report what a version touched.", no_args_is_help=True
)

Workspace = Annotated[str, typer.Option("--workspace", "-w", help="The id of the workspace.")]
AnyWorkspace = Annotated[
    str | None, typer.Option("--workspace", "-w", help="The id of one workspace; without it, every workspace.")
]
Agent = Annotated[str | None, typer.Option("--agent", "-a", help="Only runs of this agent.")]


@agents.command("list")
def list_runs(
    workspace: AnyWorkspace = None,
    agent: Agent = None,
    status: Annotated[str | None, typer.Option("--status", "-s", help="Only runs of this status.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000, help="At most so many.")] = 25,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first."""
    from typing import get_args

    from datalane.agents.runs.looking import RunFilter
    from datalane.agents.runs.schemas import RunStatus
    from datalane.cli.agent_tables import print_runs

    if status is not None and status not in get_args(RunStatus):
        raise InvalidInput(f"there is no status {status!r}; there are: {', '.join(get_args(RunStatus))}")
    home = None if workspace is None else _id(workspace, "a workspace's")
    asked = RunFilter(agent=agent, status=cast("RunStatus | None", status))
    rows = asyncio.run(_office().list_runs(home, asked, limit))
    if as_json:
        print_json({"runs": rows})
    else:
        print_runs(rows, with_workspace=home is None)


@agents.command()
def show(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run's id.", show_default=False)],
    workspace: Workspace,
    as_json: AsJson = False,
) -> None:
    """Show one run as a tree: its steps and calls of tools in their order, and the runs inside it."""
    from datalane.cli.agent_tree import print_tree

    home, wanted = _id(workspace, "a workspace's"), _id(run_id, "a run's")
    tree = asyncio.run(_office().get_tree(home, wanted))
    if as_json:
        print_json({"run": tree.as_dict()})
    else:
        print_tree(tree)


@agents.command()
def tail(workspace: Workspace, agent: Agent = None, as_json: AsJson = False) -> None:
    """Follow the changes of status of runs and calls, from now on. Ctrl-C ends it."""
    home = _id(workspace, "a workspace's")
    with suppress(KeyboardInterrupt):
        asyncio.run(_tail(_office(), home, agent, as_json))


async def _tail(office: AgentsOffice, home: UUID, agent: str | None, as_json: bool) -> None:
    from datalane.cli.agent_following import follow
    from datalane.cli.agent_tables import told_change

    has_begun = False
    async for news in follow(office, home, agent):
        for change in news:
            if as_json:
                print_json({"transition": change})
            else:
                typer.echo(told_change(change))
        if not has_begun:
            typer.echo("following; Ctrl-C ends it", err=True)
            has_begun = True


@agents.command("rollback-report")
def rollback_report(
    workspace: Workspace,
    model_version: Annotated[
        str | None, typer.Option("--model-version", help="The id of a version of a model.")
    ] = None,
    prompt_version: Annotated[
        str | None, typer.Option("--prompt-version", help="The id of a version of a prompt.")
    ] = None,
    price_version: Annotated[str | None, typer.Option("--price-version", help="The id of a price.")] = None,
    tool: Annotated[str | None, typer.Option("--tool", help="The name of a tool.")] = None,
    tool_version: Annotated[int | None, typer.Option("--tool-version", min=1, help="Only this version of it.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=0, max=100_000, help="Show so many runs; --json has all.")
    ] = 25,
    as_json: AsJson = False,
) -> None:
    """Tell every run, step, call, answer and evaluation that a version, a price or a tool has touched, and what they
    cost."""
    from datalane.agents.rollback.schemas import Suspect
    from datalane.cli.agent_tables import print_report

    suspect = Suspect(
        model_version_id=None if model_version is None else _id(model_version, "a model version's"),
        prompt_version_id=None if prompt_version is None else _id(prompt_version, "a prompt version's"),
        price_version_id=None if price_version is None else _id(price_version, "a price version's"),
        tool_name=tool,
        tool_version=tool_version,
    )
    report = asyncio.run(_office().report(_id(workspace, "a workspace's"), suspect))
    if not as_json:
        print_report(report, limit)
        return
    print_json({"summary": report.sums()})
    for evaluation in report.evaluations:
        print_json({"evaluation": evaluation.model_dump(mode="json")})
    for line in report.lines():
        print_json({"run": line})


@agents.command()
def evaluate(
    workspace: Workspace,
    dataset: Annotated[Path, typer.Option(help="A file of cases, one JSON object a line.")],
    grader: Annotated[
        list[str] | None,
        typer.Option(
            help="citations, exact, retrieval or schema. Repeatable. [default: citations, and those of exact and "
            "retrieval for which every case says what is wanted]"
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="The evaluation to compare with. [default: the newest of the same dataset and agent]"),
    ] = None,
    at_least: Annotated[
        list[str] | None, typer.Option(help="Fail below this mean, for instance citations=0.95. Repeatable.")
    ] = None,
    fail_if_worse: Annotated[
        bool, typer.Option("--fail-if-worse", help="Fail when a score is worse, by the interval of the difference.")
    ] = False,
    coverage: Annotated[
        float, typer.Option(min=0.01, max=1, help="Tell no score where a smaller share of the cases is graded.")
    ] = 0.9,
    at_once: Annotated[int, typer.Option(min=1, max=100, help="So many cases at a time.")] = 4,
    as_json: AsJson = False,
) -> None:
    """Have the lane's assistant answer the cases of a file, grade the answers, and keep and compare the evaluation.
    Exit status 1: below a threshold, or too few cases graded. Needs a lane that runs."""
    from datalane.cli import agent_evaluation
    from datalane.cli.agent_evaluation_report import print_evaluation
    from datalane.kit.logs import configure_logging

    thresholds = dict(agent_evaluation.read_threshold(text) for text in at_least or ())
    asked = agent_evaluation.Asked(
        workspace_id=_id(workspace, "a workspace's"),
        cases=agent_evaluation.read_cases(dataset),
        name=agent_evaluation.dataset_name(dataset),
        graders=None if grader is None else agent_evaluation.checked_graders(grader),
        thresholds=thresholds,
        coverage=coverage,
        at_once=at_once,
        against=None if against is None else _id(against, "an evaluation's"),
    )
    configure_logging("ERROR")
    try:
        told = _evaluate(asked)
    except KeyboardInterrupt:
        typer.echo("stopped: what was attempted is kept as an evaluation", err=True)
        raise SystemExit(_INTERRUPTED) from None
    faults = told.faults(thresholds, fail_if_worse)
    if fail_if_worse and told.comparison is None and told.uncompared is None:
        typer.echo("--fail-if-worse: there is no evaluation before to compare with", err=True)
    if as_json:
        print_json({**told.as_dict(), "faults": faults})
    else:
        print_evaluation(told, faults)
    if faults:
        sys.exit(_BELOW)


def _evaluate(asked: Asked) -> Evaluated:
    from datalane.cli.agent_evaluation import evaluate_assistant
    from datalane.cli.progress import steps
    from datalane.db.home import connection_settings

    settings = load_settings()
    with steps() as step:
        url = connection_settings(settings).database_url
        return asyncio.run(evaluate_assistant(settings, url, asked, step))


def _office() -> AgentsOffice:
    from datalane.cli.agent_lookup import AgentsOffice

    return AgentsOffice(load_settings())


def _id(text: str, what: str) -> Any:
    from datalane.cli.office import parse_id

    return parse_id(text, what)
