"""`datalane demo`: the main job on real input, measured."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
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
    from datalane.cli.demo_report import print_report
    from datalane.cli.progress import steps
    from datalane.demo.corpus import open_corpus
    from datalane.demo.scratch import open_place
    from datalane.kit.logs import configure_logging

    settings = load_settings()
    chosen = open_corpus(corpus, settings.limits.title_characters)
    # Empty documents and hundreds of refused requests are part of the demo; their log lines are not.
    configure_logging("ERROR")
    with _Interruptions() as interruptions, steps() as step, open_place(settings) as place:
        report = _run(place, chosen, step, interruptions)
    if as_json:
        print_json(report.as_dict())
    else:
        print_report(report)
    if not report.holds:
        sys.exit(_FAULTS_FOUND)


def _run(place: Place, corpus: Corpus, step: Step, interruptions: _Interruptions) -> Report:
    import uvloop

    from datalane.demo.run import run_demo

    async def main() -> Report:
        with interruptions.cancelling():
            return await run_demo(place, corpus, step)

    return uvloop.run(main())


class _Interruptions:
    """Ctrl-C and SIGTERM unwind everything that was started, then end the command.

    What a handler raises is lost when it runs inside the callback of a weak reference, as imports have them, so that
    one came is remembered as well and looked at where it matters.
    """

    def __init__(self) -> None:
        self._asked = False
        self._cancel: Callable[[], object] | None = None

    def __enter__(self) -> _Interruptions:
        self._former = {number: signal.signal(number, self._interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        if self._asked and (kind is None or issubclass(kind, KeyboardInterrupt | asyncio.CancelledError)):
            typer.echo("stopped", err=True)
            # An interrupt that went through the making of a dataclass, say, is remembered by the interpreter, which
            # would end by the signal instead of our status; running anything makes it forget.
            exec("")  # noqa: S102
            raise SystemExit(_INTERRUPTED) from None

    @contextmanager
    def cancelling(self) -> Iterator[None]:
        """Inside, an interruption cancels the current task instead of raising wherever the loop happens to be."""
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        if self._asked:
            raise asyncio.CancelledError
        self._cancel = partial(loop.call_soon_threadsafe, task.cancel)
        try:
            yield
        finally:
            self._cancel = None

    def _interrupt(self, number: int, frame: object) -> None:
        self._asked = True
        if self._cancel is None:
            raise KeyboardInterrupt
        self._cancel()
