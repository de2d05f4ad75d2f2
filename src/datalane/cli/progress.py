"""A progress bar for each step of a long command."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def steps() -> Iterator[Callable[[str], AbstractContextManager[Any]]]:
    """Progress on stderr, nothing when that is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bars:

        @contextmanager
        def step(description: str) -> Iterator[Any]:
            bar = bars.add_task(description, total=None)
            yield lambda done, total: bars.update(bar, completed=done, total=total)
            task = next(one for one in bars.tasks if one.id == bar)
            total = task.total or 1
            bars.update(bar, total=total, completed=total)

        yield step
