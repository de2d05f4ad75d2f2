"""`datalane demo`: the main job on real input, measured."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datalane.cli.output import AsJson, print_json
from datalane.settings import load_settings

if TYPE_CHECKING:
    from datalane.demo.corpus import Corpus
    from datalane.demo.run import Report, Step
    from datalane.demo.scratch import Place

_FAULTS_FOUND = 1
_INTERRUPTED = 130


def demo(
    corpus: Annotated[
        Path | None,
        typer.Option(help="A folder with corpus.jsonl, queries.jsonl and qrels.tsv (BEIR). [default: own documents]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ingest, search, cite and try the wall between two workspaces, in a Postgres of its own; report the numbers.

    With DATALANE_DATABASE_URL it works in that database and leaves its two workspaces there.
    """
    from datalane.cli.demo_report import print_report, steps
    from datalane.demo.corpus import open_corpus
    from datalane.demo.scratch import open_place
    from datalane.kit.logs import configure_logging

    settings, chosen = load_settings(), open_corpus(corpus)
    # Empty documents and hundreds of refused requests are part of the demo; their log lines are not.
    configure_logging("ERROR")
    with _interruptible(), steps() as step, open_place(settings) as place:
        report = _run(place, chosen, step)
    if as_json:
        print_json(report.as_dict())
    else:
        print_report(report)
    if not report.holds:
        sys.exit(_FAULTS_FOUND)


def _run(place: Place, corpus: Corpus, step: Step) -> Report:
    import uvloop

    from datalane.demo.run import run_demo

    async def main() -> Report:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await run_demo(place, corpus, step)

    return uvloop.run(main())


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C and SIGTERM unwind everything that was started, then end the command."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except (KeyboardInterrupt, asyncio.CancelledError):
        typer.echo("stopped", err=True)
        raise SystemExit(_INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)
