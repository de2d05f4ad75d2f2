"""A lane on a server of its own, with a corpus in one workspace."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
from pydantic import SecretStr

from bench.knowledge.shortened import Shortened
from bench.server import Server
from datalane.db.access import Access
from datalane.db.provision import prepare
from datalane.demo.corpus import Corpus, open_corpus, other_corpus
from datalane.demo.ingest import ingest, working
from datalane.demo.people import Person, make_person
from datalane.domains import make_runtime, open_runtime, register_handlers
from datalane.knowledge.providers import Providers
from datalane.knowledge.runtime import Knowledge
from datalane.lane import Lane
from datalane.settings import Settings

DATABASE = "knowledge"
INGESTIONS = 3


@dataclass(frozen=True)
class Ground:
    """`person` has the corpus, brought in at `documents_per_second`, the median of several workspaces.

    `admin_url` is the superuser's, for tables without row security.
    """

    lane: Lane
    knowledge: Knowledge
    person: Person
    corpus: Corpus
    documents_per_second: float
    admin_url: str


@asynccontextmanager
async def laid(server: Server, folder: Path) -> AsyncIterator[Ground]:
    """Ingest the corpus in `folder` as a worker does, into one workspace after the other. Raises as `open_corpus`."""
    corpus = open_corpus(folder)
    url = prepare(server.dsn(), DATABASE, Access.generate()).database_url
    with tempfile.TemporaryDirectory(prefix="dlk", dir="/tmp") as home:
        settings = Settings(home=Path(home), cursor_key=SecretStr("bench"))
        lane = Lane()
        made = make_runtime(settings)
        providers = Providers(made.knowledge.providers.builtin, [Shortened(made.knowledge.embedder)])
        made = replace(made, knowledge=replace(made.knowledge, providers=providers))
        async with open_runtime(settings, made), lane.open(settings, url):
            knowledge = made.knowledge
            register_handlers(lane.handlers, lane.database, made)
            await knowledge.pool.start()
            knowledge.embedder.embed(["loaded before the clock runs"])
            people = [await make_person(lane, f"bench{number}") for number in range(INGESTIONS + 1)]
            async with working(lane):
                await ingest(lane, knowledge, people[0], other_corpus(), lambda done, total: None)  # warms up
                ingested = [await ingest(lane, knowledge, each, corpus, _say_progress) for each in people[1:]]
            await _settle(server)
            seconds = statistics.median(each.seconds for each in ingested)
            yield Ground(lane, knowledge, people[1], corpus, corpus.documents / seconds, server.dsn(DATABASE))


async def _settle(server: Server) -> None:
    admin = await asyncpg.connect(server.dsn(DATABASE))
    try:
        await admin.execute("VACUUM ANALYZE")
    finally:
        await admin.close()


def _say_progress(done: int, total: int) -> None:
    if done == total:
        print(f"  {total:,} documents", file=sys.stderr, flush=True)
