"""A process that asks the large workspace without a pause, while it is told to."""

from __future__ import annotations

import itertools
import multiprocessing
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Protocol
from uuid import UUID

import uvloop
from pydantic import SecretStr

from datalane.contracts.context import Context
from datalane.knowledge.methods import Method
from datalane.knowledge.providers import QueryVectors
from datalane.knowledge.retrieval.schemas import Query
from datalane.knowledge.retrieval.service import retrieve
from datalane.knowledge.runtime import open_knowledge
from datalane.lane import Lane
from datalane.settings import Settings


class _Count(Protocol):
    value: int


@dataclass(frozen=True)
class Load:
    """`asked` counts the queries. The process asks while `on` is set, and ends when `over` is."""

    on: Event
    over: Event
    ready: Event
    asked: list[int]


@contextmanager
def loading(url: str, workspace_id: UUID, questions: list[str]) -> Iterator[Load]:
    spawn = multiprocessing.get_context("spawn")
    counter = spawn.Value("q", 0)
    on, over, ready = spawn.Event(), spawn.Event(), spawn.Event()
    process = spawn.Process(target=_run, args=(url, workspace_id, questions, on, over, ready, counter), daemon=True)
    process.start()
    load = Load(on, over, ready, [])
    try:
        if not ready.wait(60):
            raise RuntimeError("the process that asks the large workspace did not start")
        yield load
    finally:
        load.asked.append(counter.value)
        over.set()
        on.set()
        process.join(30)
        process.kill()


def _run(
    url: str, workspace_id: UUID, questions: list[str], on: Event, over: Event, ready: Event, counter: _Count
) -> None:
    uvloop.run(_ask(url, workspace_id, questions, on, over, ready, counter))


async def _ask(
    url: str, workspace_id: UUID, questions: list[str], on: Event, over: Event, ready: Event, counter: _Count
) -> None:
    with tempfile.TemporaryDirectory(prefix="dll", dir="/tmp") as home:
        settings, lane = Settings(home=Path(home), cursor_key=SecretStr("bench")), Lane()
        async with open_knowledge(settings) as knowledge, lane.open(settings, url):
            knowledge.embedder.embed(["loaded"])
            ready.set()
            for text, method in zip(itertools.cycle(questions), itertools.cycle(Method), strict=False):
                on.wait()
                if over.is_set():
                    return
                async with lane.transaction(Context.system(workspace_id)) as tx:
                    await retrieve(tx, QueryVectors(knowledge.providers, text), Query(query=text, method=method))
                counter.value += 1
