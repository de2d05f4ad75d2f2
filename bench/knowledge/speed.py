"""How fast: ingestion beside splitting and embedding alone, exact search beside raw pgvector, filters beside none."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import numpy as np

from bench.knowledge.ground import Ground
from datalane.contracts.context import Context
from datalane.kit.ids import uuid7
from datalane.knowledge.chunking import chunk_text
from datalane.knowledge.embeddings import passage_text
from datalane.knowledge.methods import Method
from datalane.knowledge.models.in_use import Searched
from datalane.knowledge.providers import QueryVectors
from datalane.knowledge.retrieval.schemas import DocumentFilters, Query, TagsWanted
from datalane.knowledge.retrieval.service import retrieve, search_semantic
from datalane.knowledge.vectors import to_wire

CHUNKS = 10_000
TAGS = {"all": 1, "tenth": 10, "hundredth": 100}
"""Every n-th document has the tag."""
_RUNS = 200
_WARM_UP = 10
_FOUND = 10

_FILL = """
WITH documents AS (
    INSERT INTO datalane.documents (workspace_id, document_id, title, tags, current_version_id, current_ordinal,
                                    created_by_actor_id)
    SELECT app.workspace_id(), d.id, 'Report ' || n, d.tags, d.version, 1, app.actor_id()
    FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS i (id, version, n)
    CROSS JOIN LATERAL (SELECT i.id, i.version, ARRAY(
        SELECT name FROM unnest($3::text[], $4::integer[]) AS t (name, every) WHERE n % every = 0) AS tags) AS d
), versions AS (
    INSERT INTO datalane.document_versions (workspace_id, version_id, document_id, ordinal, size_bytes, content_sha256,
        file_key, canonical_text, characters, embedding_model_version, indexed_at)
    SELECT app.workspace_id(), i.version, i.id, 1, 1, sha256(i.id::text::bytea), app.workspace_id() || '/' || i.version,
           'x', 1, $5, now()
    FROM unnest($1::uuid[], $2::uuid[]) AS i (id, version)
), chunks AS (
    INSERT INTO datalane.chunks (workspace_id, chunk_id, document_id, version_id, ordinal, start_offset, end_offset,
                                 start_byte, end_byte, text)
    SELECT app.workspace_id(), i.id, i.id, i.version, 0, 0, 1, 0, 1, 'x'
    FROM unnest($1::uuid[], $2::uuid[]) AS i (id, version)
)
INSERT INTO datalane.chunk_vectors (workspace_id, model_version, chunk_id, embedding)
SELECT app.workspace_id(), $5, i.id, i.embedding FROM unnest($1::uuid[], $6::public.vector[]) AS i (id, embedding)
"""
_PLAIN = """
CREATE TABLE public.plain_vectors (chunk_id uuid PRIMARY KEY, embedding public.vector NOT NULL);
ALTER TABLE public.plain_vectors ALTER COLUMN embedding SET STORAGE PLAIN;
INSERT INTO public.plain_vectors
SELECT v.chunk_id, v.embedding FROM datalane.chunk_vectors AS v WHERE v.workspace_id = '{}'
"""
_NEAREST = (
    f"SELECT chunk_id, -(embedding <#> $1) AS score FROM public.plain_vectors ORDER BY embedding <#> $1 LIMIT {_FOUND}"
)
_NEAREST_OF_TENANT = (
    "SELECT chunk_id, -(embedding <#> $1) AS score FROM datalane.chunk_vectors "
    f"WHERE workspace_id = $2 AND model_version = $3 ORDER BY embedding <#> $1 LIMIT {_FOUND}"
)


@dataclass
class Timed:
    """Seconds of each run of both sides. `limit` is the target of ours over theirs, at most."""

    subject: str
    limit: float | None = None
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return statistics.median(self.ours) / statistics.median(self.theirs)


@dataclass(frozen=True)
class Ingestion:
    """Documents a second: through the lane, and split and embedded alone, in one process."""

    ours: float
    alone: float


def time_alone(ground: Ground) -> Ingestion:
    files = list(ground.corpus.files())
    began = time.perf_counter()
    for file in files:
        text = file.data.decode(errors="replace")
        chunks = chunk_text(text)
        if chunks:
            ground.knowledge.embedder.embed(
                [passage_text(file.document.title, text[chunk.start : chunk.end]) for chunk in chunks]
            )
    alone = len(files) / (time.perf_counter() - began)
    return Ingestion(ground.documents_per_second, alone)


async def time_searches(ground: Ground) -> list[Timed]:
    """Over `CHUNKS` chunks of another workspace, each a document of its own."""
    context = Context.system(uuid7())
    await _fill(ground, context, ground.knowledge.providers.usual)
    admin = await asyncpg.connect(ground.admin_url)
    try:
        await admin.set_type_codec("vector", schema="public", encoder=bytes, decoder=bytes, format="binary")
        await admin.execute(_PLAIN.format(context.workspace_id))
        await admin.execute("VACUUM ANALYZE")
        texts = [query.text for query in ground.corpus.queries]
        exact = Timed(f"exact search over {CHUNKS:,} chunks / raw pgvector", 1.2)
        shared = Timed("exact search / raw pgvector among all tenants'", 1.2)
        filtered = {
            name: Timed(f"semantic, 1 of {every} by its tag / without a filter") for name, every in TAGS.items()
        }
        for run in range(_RUNS + _WARM_UP):
            if run == _WARM_UP:
                for timed in (exact, shared, *filtered.values()):
                    timed.ours.clear()
                    timed.theirs.clear()
            text = texts[run % len(texts)]
            of_tenant = (context.workspace_id, ground.knowledge.providers.usual)
            await _time_exact(ground, context, admin, text, exact, run, _NEAREST)
            await _time_exact(ground, context, admin, text, shared, run, _NEAREST_OF_TENANT, *of_tenant)
            for name, timed in filtered.items():
                await _time_filter(ground, context, text, name, timed, run)
        return [exact, shared, *filtered.values()]
    finally:
        await admin.close()


async def _time_exact(
    ground: Ground,
    context: Context,
    admin: asyncpg.Connection,
    text: str,
    timed: Timed,
    run: int,
    raw: str,
    *arguments: Any,
) -> None:
    """Both embed the query; ours stands in an open door. The `raw` statement takes the vector, then `arguments`."""
    embedder = ground.knowledge.embedder
    answers: list[list[Any]] = []
    async with ground.lane.transaction(context) as tx:

        async def ours() -> None:
            vector = to_wire(embedder.embed([text]))[0]
            answers.append(list(await search_semantic(tx, Searched(ground.knowledge.providers.usual), vector, _FOUND)))

        async def theirs() -> None:
            rows = await admin.fetch(raw, to_wire(embedder.embed([text]))[0], *arguments)
            answers.append([row["chunk_id"] for row in rows])

        await _take_turns(ours, theirs, timed, run)
    if answers[0] != answers[1]:
        raise RuntimeError(f"the two sides found other chunks for {text!r}")


async def _time_filter(ground: Ground, context: Context, text: str, tag: str, timed: Timed, run: int) -> None:
    async def ask(filters: DocumentFilters | None) -> None:
        async with ground.lane.transaction(context) as tx:
            asked = Query(query=text, method=Method.SEMANTIC, limit=_FOUND, filters=filters)
            await retrieve(tx, QueryVectors(ground.knowledge.providers, text), asked)

    tagged = DocumentFilters(tags=TagsWanted(any=[tag]))
    await _take_turns(lambda: ask(tagged), lambda: ask(None), timed, run)


async def _take_turns(
    ours: Callable[[], Awaitable[None]], theirs: Callable[[], Awaitable[None]], timed: Timed, run: int
) -> None:
    for work, seconds in ((ours, timed.ours), (theirs, timed.theirs))[:: 1 if run % 2 else -1]:
        began = time.perf_counter()
        await work()
        seconds.append(time.perf_counter() - began)


async def _fill(ground: Ground, context: Context, model: str) -> None:
    vectors = np.random.default_rng(1).normal(size=(CHUNKS, ground.knowledge.embedder.dimensions)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids, versions = [uuid7() for _ in range(CHUNKS)], [uuid7() for _ in range(CHUNKS)]
    async with ground.lane.transaction(context) as tx:
        await tx.execute(_FILL, ids, versions, list(TAGS), list(TAGS.values()), model, to_wire(vectors))
