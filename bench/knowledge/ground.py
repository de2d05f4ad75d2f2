"""A lane on a server of its own, with a corpus in one workspace."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from pydantic import SecretStr

from bench.server import Server
from datalane.db.access import Access
from datalane.db.provision import prepare
from datalane.demo.corpus import Corpus, open_corpus
from datalane.demo.ingest import Ingested, ingest, working
from datalane.demo.people import Person, make_person
from datalane.domains import register_handlers
from datalane.knowledge.runtime import Knowledge, open_knowledge
from datalane.lane import Lane
from datalane.settings import Settings

DATABASE = "knowledge"


@dataclass(frozen=True)
class Ground:
    """`person` has the corpus; `admin_url` is the superuser's, for tables without row security."""

    lane: Lane
    knowledge: Knowledge
    person: Person
    corpus: Corpus
    ingested: Ingested
    admin_url: str


@asynccontextmanager
async def laid(server: Server, folder: Path) -> AsyncIterator[Ground]:
    """Ingest the corpus in `folder` as a worker does. Raises as `open_corpus`."""
    corpus = open_corpus(folder)
    url = prepare(server.dsn(), DATABASE, Access.generate()).database_url
    with tempfile.TemporaryDirectory(prefix="dlk", dir="/tmp") as home:
        settings = Settings(home=Path(home), cursor_key=SecretStr("bench"))
        lane = Lane()
        async with open_knowledge(settings) as knowledge, lane.open(settings, url):
            register_handlers(lane.handlers, lane.database, knowledge)
            await knowledge.pool.start()
            knowledge.embedder.embed(["loaded before the clock runs"])
            person = await make_person(lane, "bench")
            async with working(lane):
                ingested = await ingest(lane, knowledge, person, corpus, _say_progress)
            await _settle(server)
            yield Ground(lane, knowledge, person, corpus, ingested, server.dsn(DATABASE))


async def _settle(server: Server) -> None:
    admin = await asyncpg.connect(server.dsn(DATABASE))
    try:
        await admin.execute("VACUUM ANALYZE")
    finally:
        await admin.close()


def _say_progress(done: int, total: int) -> None:
    if done and done % 500 < 50:
        print(f"  {done:,} of {total:,} documents", file=sys.stderr, flush=True)
