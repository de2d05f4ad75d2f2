"""A lane with one large workspace and many small ones, indexed as an application does it."""

from __future__ import annotations

import random
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg
from pydantic import SecretStr

from bench.server import Server
from datalane.contracts.context import Context
from datalane.db.access import Access, Prepared
from datalane.db.provision import prepare as prepare_database
from datalane.demo.corpus import Corpus, open_corpus
from datalane.knowledge.indexing import IndexChunks, Span, index_chunks, prepare
from datalane.knowledge.runtime import Knowledge, open_knowledge
from datalane.lane import Lane
from datalane.settings import Settings

DATABASE = "neighbour"
_DOCUMENT = 500
"""Chunks of one document, at most."""
_SENTENCES = 5
_SIZES = (5, 20, 50, 100, 250)
"""Chunks of small workspaces, in turn."""


@dataclass(frozen=True)
class Ground:
    lane: Lane
    knowledge: Knowledge
    questions: list[str]
    large: UUID
    small: list[UUID]
    chunks: int
    prepared: Prepared
    admin_url: str

    @property
    def small_chunks(self) -> int:
        return sum(size_of(number) for number in range(len(self.small)))


def size_of(number: int) -> int:
    """Chunks of the small workspace of this number."""
    return _SIZES[number % len(_SIZES)]


@asynccontextmanager
async def laid(server: Server, folder: Path, chunks: int, workspaces: int) -> AsyncIterator[Ground]:
    """Fill them with passages of five sentences drawn from the corpus in `folder`. Raises as `open_corpus`."""
    corpus = open_corpus(folder)
    prepared = prepare_database(server.dsn(), DATABASE, Access.generate())
    with tempfile.TemporaryDirectory(prefix="dln", dir="/tmp") as home:
        settings, lane = Settings(home=Path(home), cursor_key=SecretStr("bench")), Lane()
        async with open_knowledge(settings) as knowledge, lane.open(settings, prepared.database_url):
            await knowledge.pool.start()
            large, small = UUID(int=1), [UUID(int=1_000 + number) for number in range(workspaces)]
            questions = [query.text for query in corpus.queries]
            ground = Ground(lane, knowledge, questions, large, small, chunks, prepared, server.dsn(DATABASE))
            passages = _passages(corpus)
            for number, workspace_id in enumerate(small):
                await _fill(ground, workspace_id, size_of(number), passages)
            _say(f"{ground.small_chunks:,} chunks in {workspaces:,} workspaces")
            began = time.perf_counter()
            await _fill(ground, large, chunks, passages)
            _say(f"{chunks:,} chunks in one workspace, {chunks / (time.perf_counter() - began):,.0f} a second")
            admin = await asyncpg.connect(ground.admin_url)
            try:
                await admin.execute("VACUUM ANALYZE")
            finally:
                await admin.close()
            yield ground


def _passages(corpus: Corpus) -> Iterator[str]:
    texts = (file.data.decode(errors="replace") for file in corpus.files())
    sentences = [each for text in texts for each in re.split(r"(?<=[.?!])\s+", text) if len(each) > 30]
    draw = random.Random(1)
    while True:
        yield " ".join(draw.sample(sentences, _SENTENCES))


async def _fill(ground: Ground, workspace_id: UUID, chunks: int, passages: Iterator[str]) -> None:
    usual, limits = frozenset({ground.knowledge.providers.usual}), ground.lane.settings.limits
    while chunks > 0:
        parts = [next(passages) for _ in range(min(chunks, _DOCUMENT))]
        chunks -= len(parts)
        spans, place = [], 0
        for part in parts:
            spans.append(Span(start_offset=place, end_offset=place + len(part)))
            place += len(part) + 1
        request = IndexChunks(text="\n".join(parts), chunks=spans)
        prepared = await prepare(ground.knowledge, workspace_id, request, limits, usual)
        async with ground.lane.transaction(Context.system(workspace_id)) as tx:
            await index_chunks(tx, prepared)


def _say(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)
