"""`datalane eval`: how good search is on judged queries, kept and compared."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from datalane.cli.output import AsJson, print_json
from datalane.errors import InvalidInput
from datalane.settings import load_settings

if TYPE_CHECKING:
    from datalane.demo.evaluating import Asked, Dataset, Evaluated, Evaluation
    from datalane.knowledge.feedback.schemas import AnswerThumbs, Judgement
    from datalane.knowledge.methods import Method
    from datalane.settings import Settings

_BELOW = 1
_INTERRUPTED = 130
_THRESHOLD = re.compile(r"(?:(semantic|keyword|hybrid):)?(nDCG@10|R@100|RR@10)=(0(?:\.\d+)?|1(?:\.0+)?)")

evaluate = typer.Typer(name="eval", help="Measure how good search is.", no_args_is_help=True)


@evaluate.callback()
def _group() -> None:
    """A callback keeps a group with one command a group."""


@evaluate.command()
def retrieval(
    dataset: Annotated[
        Path, typer.Option(help="A folder with corpus.jsonl, queries.jsonl and qrels.tsv or qrels/test.tsv (BEIR).")
    ],
    method: Annotated[
        list[str] | None, typer.Option(help="keyword, semantic or hybrid. Repeatable. [default: all three]")
    ] = None,
    keyword_weight: Annotated[
        float | None, typer.Option(min=0, max=1, help="The keyword's part of the hybrid. [default: that of queries]")
    ] = None,
    workspace: Annotated[
        UUID | None,
        typer.Option(help="Ask this workspace, whose documents are judged by their source_uri. [default: its own]"),
    ] = None,
    against: Annotated[
        UUID | None, typer.Option(help="The run to compare with. [default: the newest of the same method]")
    ] = None,
    at_least: Annotated[
        list[str] | None,
        typer.Option(help="Fail below this mean, for instance hybrid:nDCG@10=0.44 or R@100=0.7. Repeatable."),
    ] = None,
    fail_if_worse: Annotated[
        bool, typer.Option("--fail-if-worse", help="Fail when a measure is worse, by the interval of the ratio.")
    ] = False,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Tell the confidence of results and citations by what is found.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Ask judged queries, measure what is found, keep the run and compare it. Exit status 1: below a threshold.

    The dataset's documents are ingested into a workspace of its own, once. Needs a lane that runs.
    """
    from datalane.cli.evaluation_report import print_report
    from datalane.demo.evaluating import Asked, read_dataset
    from datalane.kit.logs import configure_logging
    from datalane.knowledge.methods import Method
    from datalane.knowledge.retrieval.fusion import KEYWORD_WEIGHT

    settings, thresholds = load_settings(), [_threshold(text) for text in at_least or ()]
    weight = KEYWORD_WEIGHT if keyword_weight is None else keyword_weight
    asked = Asked(_methods(method, [*Method]), weight, workspace, against, calibrate)
    for wanted, measure, _ in thresholds:
        if wanted is not None and wanted not in asked.methods:
            raise InvalidInput(f"--at-least {wanted}:{measure} is of a method that is not asked")
    read = read_dataset(dataset, settings.limits.title_characters, with_corpus=workspace is None)
    configure_logging("ERROR")
    try:
        found = _run(settings, read, asked)
    except KeyboardInterrupt:
        typer.echo("stopped: the runs of methods that were through are kept, and the ingested documents stay", err=True)
        raise SystemExit(_INTERRUPTED) from None
    faults = [*_below(found.methods, thresholds), *(_worse(found.methods) if fail_if_worse else ())]
    faults += [f"{one.run.method}: {one.uncalibrated}" for one in found.methods if one.uncalibrated]
    if fail_if_worse and any(one.comparison is None for one in found.methods):
        typer.echo("--fail-if-worse: a method has no run before to compare with, and passes", err=True)
    if as_json:
        print_json({**found.as_dict(), "faults": faults})
    else:
        print_report(found, faults)
    if faults:
        sys.exit(_BELOW)


@evaluate.command()
def judgements(
    workspace: Annotated[UUID, typer.Option(help="The id of the workspace whose feedback is taken.")],
    out: Annotated[Path, typer.Option(help="A folder that is not there yet, or is empty.")],
    as_json: AsJson = False,
) -> None:
    """Write what people thought of chunks and citations as a dataset: queries.jsonl and qrels.tsv. What they thought of
    whole answers names no document, and is counted.

    `datalane eval retrieval --dataset OUT --workspace ID` asks it.
    """
    from datalane.cli.answer_thumbs import lines_of_answers
    from datalane.cli.office import Office
    from datalane.contracts.context import Context
    from datalane.demo.judgements import write_judgements
    from datalane.knowledge.feedback import service

    async def read() -> tuple[list[Judgement], list[AnswerThumbs]]:
        async with (
            Office(load_settings()).database() as database,
            database.transaction(Context.system(workspace)) as tx,
        ):
            return await service.judgements(tx), await service.thumbs_on_answers(tx)

    judged, answers = asyncio.run(read())
    written = write_judgements(judged, out)
    if as_json:
        print_json({**written, "answers": [one.model_dump(mode="json") for one in answers]})
        return
    typer.echo(f"{written['queries']} queries with {written['judgements']} judgements are in {out}")
    for line in lines_of_answers(answers):
        typer.echo(line)


def _run(settings: Settings, dataset: Dataset, asked: Asked) -> Evaluation:
    from datalane.cli.progress import steps
    from datalane.db.home import connection_settings
    from datalane.demo.evaluating import evaluate as run

    with steps() as step:
        return asyncio.run(run(settings, connection_settings(settings).database_url, dataset, asked, step))


def _methods(said: Sequence[str] | None, known: Sequence[Method]) -> list[Method]:
    wrong = sorted(set(said or ()) - set(known))
    if wrong:
        raise InvalidInput(f"--method {wrong[0]} is none of {', '.join(known)}")
    return [method for method in known if said is None or method in said]


def _threshold(text: str) -> tuple[str | None, str, float]:
    """Method (None is every one), measure, least mean. Raises `InvalidInput`."""
    read = _THRESHOLD.fullmatch(text)
    if read is None:
        raise InvalidInput(
            f"--at-least {text} is not of the form hybrid:nDCG@10=0.44; measures are nDCG@10, R@100, RR@10"
        )
    return read[1], read[2], float(read[3])


def _below(found: Sequence[Evaluated], thresholds: Sequence[tuple[str | None, str, float]]) -> list[str]:
    faults = []
    for method, measure, least in thresholds:
        for one in found:
            value = one.run.measures[measure].value
            if method in {None, one.run.method} and value < least:
                faults.append(f"{one.run.method} {measure} is {value:.4f}, below {least}")
    return faults


def _worse(found: Sequence[Evaluated]) -> list[str]:
    return [
        f"{one.run.method} {measure} is worse than in run {one.comparison.baseline_id}"
        for one in found
        if one.comparison is not None
        for measure, change in one.comparison.measures.items()
        if change.verdict == "worse"
    ]
