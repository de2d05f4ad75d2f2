"""kill -9 of workers that ingest, ingest again and fill a model; SQL counts what they left behind."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from tests.concurrency.test_races import seeds
from tests.conftest import a_context
from tests.integration.engine.lab import eventually
from tests.integration.knowledge.endpoints import DIMENSIONS, running_endpoint
from tests.integration.knowledge.library import Library

from datalane.contracts.context import Role
from datalane.db.provision import Prepared
from datalane.knowledge.models import service
from datalane.knowledge.models.schemas import ModelTarget
from datalane.knowledge.runtime import open_knowledge
from datalane.lane import Lane
from datalane.settings import EmbeddingSettings, JobSettings, Settings

CHILD = Path(__file__).with_name("child_library.py")
NEAR = f"near:bags/{DIMENSIONS}-1"
DOCUMENTS = 40
DEATHS = 5
PATIENCE = 90
FAULTS = {
    "a chunk that is not current has a vector": """
        SELECT count(*) FROM datalane.chunk_vectors v JOIN datalane.chunks c USING (workspace_id, chunk_id)
        JOIN datalane.documents d USING (workspace_id, document_id) WHERE d.current_version_id <> c.version_id""",
    "a vector is of no chunk": """
        SELECT count(*) FROM datalane.chunk_vectors v LEFT JOIN datalane.chunks c USING (workspace_id, chunk_id)
        WHERE c.chunk_id IS NULL""",
    "a current chunk lacks a vector of a model in use": """
        SELECT count(*) FROM datalane.chunks c JOIN datalane.documents d USING (workspace_id, document_id)
        CROSS JOIN datalane.embedding_models m LEFT JOIN datalane.chunk_vectors v
            ON v.workspace_id = c.workspace_id AND v.chunk_id = c.chunk_id AND v.model_version = m.model_version
        WHERE d.current_version_id = c.version_id AND v.chunk_id IS NULL""",
    "current chunks and search entries differ": """
        SELECT count(*) FROM (
            SELECT c.chunk_id FROM datalane.chunks c JOIN datalane.documents d USING (workspace_id, document_id)
            WHERE d.current_version_id = c.version_id) c
        FULL JOIN (SELECT entry_id FROM datalane.search_entries WHERE collection = 1) e ON e.entry_id = c.chunk_id
        WHERE c.chunk_id IS NULL OR e.entry_id IS NULL""",
    "postings are of no entry": """
        SELECT count(*) FROM datalane.search_postings p LEFT JOIN datalane.search_entries e
            USING (workspace_id, collection, entry_id) WHERE e.entry_id IS NULL""",
    "a document is not at its newest version": """
        SELECT count(*) FROM datalane.documents WHERE current_ordinal <> latest_ordinal""",
}


def text(number: int, edition: int) -> bytes:
    return "\n\n".join(
        f"Herons of lake {number}, edition {edition}, paragraph {place}: they stand in the reeds and wait. " * 8
        for place in range(6)
    ).encode()


async def start(settings: Settings, url: str) -> Process:
    """A worker process that claims already."""
    written = json.loads(settings.model_dump_json()) | {"database_url": url}
    process = await asyncio.create_subprocess_exec(sys.executable, str(CHILD), json.dumps(written), stdout=PIPE)
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readuntil(b"ready\n"), 60)
    return process


async def upload_all(library: Library, edition: int, ids: Sequence[UUID | None]) -> list[UUID]:
    return [
        (await library.upload(text(number, edition), filename=f"{number}.txt", document_id=known)).document_id
        for number, known in enumerate(ids)
    ]


async def at_rest(library: Library) -> None:
    """No job is open, and the model is filled."""
    open_jobs = "SELECT count(*) FROM datalane.jobs WHERE status NOT IN ('failed', 'dead_letter')"
    filled = "SELECT count(*) FROM datalane.embedding_models WHERE status = 'ready'"

    async def resting() -> bool:
        return not (await library.fetch(open_jobs))[0][0] and bool((await library.fetch(filled))[0][0])

    assert await eventually(resting, PATIENCE)


async def until_done(library: Library, jobs: int) -> None:
    """Until so many more jobs have completed, or none is open: somewhere in the middle of the work."""

    async def counted() -> tuple[int, int]:
        done = await library.fetch("SELECT count(*) FROM datalane.job_history")
        left = await library.fetch("SELECT count(*) FROM datalane.jobs")
        return int(done[0][0]), int(left[0][0])

    wanted = (await counted())[0] + jobs

    async def reached() -> bool:
        done, left = await counted()
        return done >= wanted or not left

    assert await eventually(reached, PATIENCE)


async def kill_at_work(library: Library, processes: list[Process], order: Sequence[Process]) -> None:
    """Kill one of the workers that holds a job. It is stopped for the look, so that it still does."""
    held = "SELECT count(*) FROM datalane.jobs WHERE status = 'processing' AND leased_by LIKE '%:' || $1 || ':%'"

    async def caught() -> Process | None:
        for process in order:
            process.send_signal(signal.SIGSTOP)
            if (await library.fetch(held, str(process.pid)))[0][0]:
                return process
            process.send_signal(signal.SIGCONT)
        return None

    victim = await eventually(caught, PATIENCE)
    assert victim is not None
    victim.send_signal(signal.SIGKILL)
    await victim.wait()
    processes.remove(victim)


@asynccontextmanager
async def filled_library(urls: Prepared, home: Path) -> AsyncIterator[Library]:
    """One document, with vectors of two models."""
    lane = Lane()
    with running_endpoint() as endpoint:
        settings = Settings(home=home, embeddings=EmbeddingSettings(endpoints=(endpoint.settings(),)))
        async with lane.open(settings, urls.database_url), open_knowledge(settings) as knowledge:
            knowledge.register(lane.handlers, lane.database)
            library = Library(lane, knowledge, a_context(role=Role.OWNER))
            async with library.working():
                await library.bring_in(text(1, 1), filename="1.txt")
                async with lane.transaction(library.context) as tx:
                    await service.register_model(tx, knowledge.providers, ModelTarget(model_version=NEAR))
                await at_rest(library)
            yield library


async def count_faults(library: Library) -> dict[str, int]:
    return {rule: (await library.fetch(sql))[0][0] for rule, sql in FAULTS.items()}


@pytest.mark.parametrize("seed", seeds(1, 8))
async def test_killed_workers_leave_no_orphan_and_no_gap(urls: Prepared, tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    with running_endpoint() as endpoint:
        settings = Settings(
            home=tmp_path,
            jobs=JobSettings(lease=timedelta(seconds=2), heartbeat=timedelta(seconds=0.5)),
            embeddings=EmbeddingSettings(endpoints=(endpoint.settings(batch=8),)),
        )
        lane = Lane()
        async with lane.open(settings, urls.database_url), open_knowledge(settings) as knowledge:
            library = Library(lane, knowledge, a_context(role=Role.OWNER))
            ids = await upload_all(library, 1, [None] * DOCUMENTS)
            processes = [await start(settings, urls.database_url) for _ in range(2)]
            try:
                await upload_all(library, 2, ids)
                async with lane.transaction(library.context) as tx:
                    await service.register_model(tx, knowledge.providers, ModelTarget(model_version=NEAR))
                for death in range(DEATHS):
                    await until_done(library, draw.randint(1, 12))
                    await upload_all(library, 3 + death, ids[: DOCUMENTS // 2])
                    await kill_at_work(library, processes, draw.sample(processes, len(processes)))
                    processes.append(await start(settings, urls.database_url))
                await at_rest(library)
            finally:
                for process in processes:
                    process.kill()
                    await process.wait()
            assert await count_faults(library) == dict.fromkeys(FAULTS, 0)
            assert (await library.fetch("SELECT count(*) FROM datalane.jobs"))[0][0] == 0
            rescued = await library.fetch("SELECT count(*) FROM datalane.job_history WHERE rescue_count > 0")
            assert rescued[0][0] > 0, "the kills met jobs that were being done"


@pytest.mark.parametrize(
    ("damage", "noticed"),
    [
        ("DELETE FROM datalane.chunk_vectors", {"a current chunk lacks a vector of a model in use"}),
        (
            "DELETE FROM datalane.search_entries",
            {"current chunks and search entries differ", "postings are of no entry"},
        ),
        ("UPDATE datalane.documents SET latest_ordinal = 2", {"a document is not at its newest version"}),
        (
            "UPDATE datalane.documents SET current_version_id = app.uuid7()",
            {"a chunk that is not current has a vector", "current chunks and search entries differ"},
        ),
    ],
)
async def test_the_count_notices_what_a_kill_could_leave(
    urls: Prepared, tmp_path: Path, damage: str, noticed: set[str]
) -> None:
    async with filled_library(urls, tmp_path) as library:
        assert await count_faults(library) == dict.fromkeys(FAULTS, 0)
        async with library.lane.transaction(library.context) as tx:
            await tx.execute(damage)
        assert {rule for rule, count in (await count_faults(library)).items() if count} == noticed
