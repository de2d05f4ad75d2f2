"""Large workspaces have an index of their own: it comes, is measured, is asked, and goes."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from tests.conftest import a_context
from tests.integration.engine.lab import eventually
from tests.integration.knowledge.shelf import BOUND, SETTINGS, Shelf

from datalane.contracts.context import Role
from datalane.db.migrate import downgrade, upgrade
from datalane.db.provision import Prepared
from datalane.db.roles import Roles
from datalane.kit.clock import utc_now
from datalane.knowledge.documents.service import delete_document
from datalane.knowledge.indexing import IndexChunks, index_chunks
from datalane.knowledge.methods import Method
from datalane.knowledge.models.service import list_models
from datalane.knowledge.own_indexes.promotion import Promotion
from datalane.knowledge.retrieval.schemas import DocumentFilters
from datalane.knowledge.vectors import to_wire
from datalane.settings import SearchSettings


async def test_a_workspace_over_the_bound_gets_an_index_that_finds_what_an_exact_search_finds(shelf: Shelf) -> None:
    await shelf.fill(BOUND)
    exact = await shelf.searched()
    assert exact.index_dimensions is None
    await shelf.keep()
    [index] = await shelf.known()
    assert (index["status"], index["recall"], index["chunks"]) == ("ready", 1.0, BOUND)
    own = await shelf.searched()
    assert own.index_dimensions == shelf.library.knowledge.embedder.dimensions
    for words in ("heat on a plate", "drag of a wing", "shock waves in gas"):
        assert await shelf.nearest(own, words) == await shelf.nearest(exact, words)
    assert [word in (await shelf.built())[0] for word in ("hnsw", str(shelf.library.context.workspace_id))] == [
        True,
        True,
    ]


async def test_a_search_asks_the_index(shelf: Shelf) -> None:
    await shelf.fill(BOUND)
    await shelf.keep()
    before = await shelf.scans()
    answer = await shelf.library.ask("heat on a plate", Method.SEMANTIC)
    assert len(answer.data) == 10

    async def counted() -> bool:
        return await shelf.scans() > before

    await eventually(counted)


@pytest.mark.parametrize("method", [Method.SEMANTIC, Method.HYBRID])
async def test_a_filter_looks_at_every_vector_that_it_lets_through_and_asks_no_index(
    shelf: Shelf, method: Method
) -> None:
    """An index gives the nearest of all, of which a filter would leave few or none."""
    few = await shelf.fill(5)
    await shelf.fill(BOUND)
    filters = DocumentFilters(document_ids=[few])
    exact = await shelf.library.ask("heat on a plate", method, filters=filters)
    await shelf.keep()
    assert await shelf.statuses() == ["ready"]
    before = await shelf.scans()
    beside = await shelf.library.ask("heat on a plate", method, filters=filters)
    assert [(one.chunk_id, one.retrieval_score) for one in beside.data] == [
        (one.chunk_id, one.retrieval_score) for one in exact.data
    ]
    assert len(beside.data) == 5
    assert await shelf.scans() == before


async def test_an_index_is_measured_by_itself_also_when_the_planner_does_not_know_the_workspace(shelf: Shelf) -> None:
    """It would take every vector for few, and find all of the best ten without the index."""
    await shelf.fill(BOUND * 3, a_context(role=Role.OWNER))
    await shelf.as_owner("ALTER TABLE datalane.chunk_vectors SET (autovacuum_enabled = false)")
    await shelf.as_owner("ANALYZE datalane.chunk_vectors")
    await shelf.fill(BOUND)
    await shelf.keep(settings=SearchSettings(exact_chunks=BOUND, own_indexes=1))
    await shelf.keep()

    async def both() -> bool:
        return await shelf.scans(str(shelf.library.context.workspace_id)) > 0

    assert await eventually(both)


@pytest.mark.parametrize(
    "written",
    [
        "INSERT INTO datalane.search_totals (workspace_id, collection, part, entries, length) "
        "SELECT app.workspace_id(), 1, 1000 + n, 9223372036854775807, 0 FROM generate_series(1, 2) n",
        "UPDATE datalane.chunk_vectors SET model_version = 'a/1', "
        "embedding = array_fill(1, ARRAY[2005])::real[]::public.vector WHERE workspace_id = app.workspace_id()",
    ],
)
async def test_what_a_workspace_writes_into_its_own_rows_keeps_no_other_from_its_index(
    shelf: Shelf, written: str
) -> None:
    vandal = a_context(role=Role.MEMBER)
    await shelf.fill(BOUND)
    await shelf.fill(BOUND, vandal)
    async with shelf.library.lane.transaction(vandal) as tx:
        await tx.execute(written)
    await shelf.keep()
    assert await shelf.statuses() == ["ready"]


async def test_an_index_that_was_not_built_is_not_measured(shelf: Shelf) -> None:
    await shelf.fill(BOUND)
    plan = await shelf.maintenance.fetch("SELECT model_version FROM datalane.plan_vector_indexes($1, 100)", BOUND)
    with pytest.raises(asyncpg.PostgresError, match="the index is not there"):
        await shelf.maintenance.fetch(
            "SELECT effort FROM datalane.measure_vector_index($1, $2, 0.99, 10)",
            shelf.library.context.workspace_id,
            plan[0]["model_version"],
        )


async def test_a_small_workspace_has_none_and_is_searched_exactly(shelf: Shelf) -> None:
    small = a_context(role=Role.OWNER)
    await shelf.fill(BOUND)
    await shelf.fill(BOUND - 1, small)
    await shelf.keep()
    assert (await shelf.statuses(), await shelf.statuses(small)) == (["ready"], [])
    assert (await shelf.searched(small)).index_dimensions is None
    assert len(await shelf.built()) == 1


async def test_nobody_finds_chunks_by_the_index_of_another_workspace(shelf: Shelf) -> None:
    await shelf.fill(BOUND)
    await shelf.keep()
    own, stranger = await shelf.searched(), a_context(role=Role.OWNER)
    [vector] = to_wire(shelf.library.knowledge.embedder.embed(["heat on a plate"]))
    async with shelf.library.lane.transaction(stranger) as tx:
        stolen = await tx.fetch(
            "SELECT chunk_id FROM datalane.nearest_chunks($1, $2, $3, 100, $4::public.vector, 10)",
            shelf.library.context.workspace_id,
            own.model_version,
            own.index_dimensions,
            vector,
        )
    assert stolen == []
    assert await shelf.statuses(stranger) == []


async def test_the_index_goes_when_the_workspace_has_become_small(shelf: Shelf) -> None:
    document = await shelf.fill(BOUND)
    await shelf.fill(BOUND // 2 - 1)
    await shelf.keep()
    own = await shelf.searched()
    async with shelf.library.lane.transaction(shelf.library.context) as tx:
        await delete_document(tx, document)
    await shelf.keep()
    assert (await shelf.statuses(), await shelf.built()) == ([], [])
    # A search that had read of the index before it went finds the same, by every vector.
    assert await shelf.nearest(own, "heat") == await shelf.nearest(await shelf.searched(), "heat")


async def test_half_of_the_bound_keeps_an_index(shelf: Shelf) -> None:
    document = await shelf.fill(BOUND // 2)
    await shelf.fill(BOUND // 2)
    await shelf.keep()
    async with shelf.library.lane.transaction(shelf.library.context) as tx:
        await delete_document(tx, document)
    await shelf.keep()
    assert await shelf.statuses() == ["ready"]
    assert len(await shelf.nearest(await shelf.searched(), "heat")) == 10, "what was deleted takes nobody's place"


async def test_an_index_that_finds_too_little_is_not_used_and_tried_again_after_a_week(shelf: Shelf) -> None:
    await shelf.fill(BOUND)
    await shelf.keep(recall=1.5)
    assert (await shelf.statuses(), await shelf.built()) == (["unfit"], [])
    assert (await shelf.searched()).index_dimensions is None
    await shelf.keep()
    assert await shelf.statuses() == ["unfit"]
    await shelf.keep(utc_now() + timedelta(days=8))
    assert await shelf.statuses() == ["ready"]


async def test_a_ready_index_is_measured_again_after_a_day_or_when_it_has_grown(shelf: Shelf) -> None:
    await shelf.fill(BOUND)
    await shelf.keep()
    [first] = await shelf.known()
    await shelf.keep()
    assert await shelf.known() == [first]
    tomorrow = utc_now() + timedelta(days=1, minutes=1)
    await shelf.keep(tomorrow)
    [second] = await shelf.known()
    assert second["measured_at"] == tomorrow
    await shelf.fill(BOUND)
    await shelf.keep(tomorrow)
    assert [index["chunks"] for index in await shelf.known()] == [2 * BOUND]


async def test_the_largest_workspaces_come_first_when_there_are_too_many(shelf: Shelf) -> None:
    larger = a_context(role=Role.OWNER)
    await shelf.fill(BOUND)
    await shelf.fill(BOUND + 1, larger)
    await shelf.keep(settings=SearchSettings(exact_chunks=BOUND, own_indexes=1))
    assert (await shelf.statuses(), await shelf.statuses(larger)) == ([], ["ready"])


async def test_an_unfit_index_takes_nobody_s_place(shelf: Shelf) -> None:
    one, smaller = SearchSettings(exact_chunks=BOUND, own_indexes=1), a_context(role=Role.OWNER)
    await shelf.fill(BOUND + 1)
    await shelf.fill(BOUND, smaller)
    await shelf.keep(settings=one, recall=1.5)
    await shelf.keep(settings=one)
    assert (await shelf.statuses(), await shelf.statuses(smaller)) == (["unfit"], ["ready"])


async def test_an_index_of_no_workspace_is_dropped(shelf: Shelf) -> None:
    await shelf.as_owner("CREATE INDEX chunk_vectors_own_0000 ON datalane.chunk_vectors (chunk_id)")
    await shelf.keep()
    assert await shelf.built() == []


async def test_a_build_that_fails_leaves_the_others_and_is_not_tried_again_at_once(shelf: Shelf) -> None:
    larger = a_context(role=Role.OWNER)
    await shelf.fill(BOUND)
    await shelf.fill(BOUND + 1, larger)
    plan = await shelf.maintenance.fetch("SELECT index_name, chunks FROM datalane.plan_vector_indexes($1, 100)", BOUND)
    [smaller] = [row["index_name"] for row in plan if row["chunks"] == BOUND]
    await shelf.as_owner(f"CREATE TABLE datalane.{smaller} (taken integer)")
    promotion = Promotion(SETTINGS, Roles())
    await promotion.keep(shelf.maintenance)
    assert (await shelf.statuses(), await shelf.statuses(larger)) == (["building"], ["ready"])
    await shelf.as_owner(f"DROP TABLE datalane.{smaller}")
    await promotion.keep(shelf.maintenance)
    assert await shelf.statuses() == ["building"]
    await shelf.keep()
    assert await shelf.statuses() == ["ready"]


async def test_one_connection_builds_at_a_time(shelf: Shelf, urls: Prepared) -> None:
    await shelf.fill(BOUND)
    other = await asyncpg.connect(urls.maintenance_url)
    await Promotion(SETTINGS, Roles()).keep(other)
    index = await shelf.known()
    await shelf.keep(utc_now() + timedelta(days=2))
    assert await shelf.known() == index, "the other connection has the turn still"
    await other.close()


async def test_what_is_written_while_an_index_is_built_is_found(shelf: Shelf, urls: Prepared) -> None:
    """A writer holds its transaction open, for which the build waits."""
    await shelf.fill(BOUND)
    async with shelf.library.lane.transaction(shelf.library.context) as tx:
        prepared = await shelf.library.prepare(IndexChunks(text="an ornithopter with flapping wings"))
        document = (await index_chunks(tx, prepared)).document_id
        building = await shelf.building(urls)
    await building
    own = await shelf.searched()
    assert own.index_dimensions is not None
    answer = await shelf.library.ask("ornithopter", Method.SEMANTIC, limit=1)
    assert [result.document_id for result in answer.data] == [document]


async def test_a_build_that_was_interrupted_is_done_again(shelf: Shelf, urls: Prepared) -> None:
    await shelf.fill(BOUND)
    async with shelf.library.lane.transaction(shelf.library.context) as tx:
        await tx.execute("LOCK TABLE datalane.chunk_vectors IN ROW EXCLUSIVE MODE")
        building = await shelf.building(urls)
        building.cancel()
        with pytest.raises(asyncio.CancelledError):
            await building
    assert await shelf.valid() == [False]
    assert (await shelf.searched()).index_dimensions is None
    await shelf.keep()
    assert await shelf.valid() == [True]
    assert await shelf.statuses() == ["ready"]


async def test_the_list_of_models_tells_of_the_index(shelf: Shelf) -> None:
    await shelf.fill(BOUND)
    async with shelf.library.lane.transaction(shelf.library.context) as tx:
        before = await list_models(tx, shelf.library.knowledge.providers)
    await shelf.keep()
    async with shelf.library.lane.transaction(shelf.library.context) as tx:
        after = await list_models(tx, shelf.library.knowledge.providers)
    assert [model.index for model in before.data] == [None]
    assert [(index.status, index.recall) for model in after.data if (index := model.index)] == [("ready", 1.0)]


async def test_the_migration_goes_down_and_up_with_indexes_built(shelf: Shelf, urls: Prepared) -> None:
    await shelf.fill(BOUND)
    await shelf.keep()
    await asyncio.to_thread(downgrade, urls.maintenance_url, Roles(), "0015")
    assert await shelf.built() == []
    await asyncio.to_thread(upgrade, urls.maintenance_url, Roles())
    await shelf.keep()
    assert await shelf.statuses() == ["ready"]


@contextmanager
def a_maintenance_process(urls: Prepared, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DATALANE_")}
    said = {
        "DATALANE_HOME": str(home),
        "DATALANE_SEARCH__EXACT_CHUNKS": str(BOUND),
        "DATALANE_CURSOR_KEY": secrets.token_urlsafe(32),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "datalane.cli.main", "maintenance"],
        env={**environment, **urls.as_environment(), **said},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def test_the_maintenance_process_builds_it(shelf: Shelf, urls: Prepared, tmp_path: Path) -> None:
    await shelf.fill(BOUND)

    async def ready() -> bool:
        return await shelf.statuses() == ["ready"]

    with a_maintenance_process(urls, tmp_path) as process:
        assert await eventually(ready)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 30) == 0


async def test_a_builder_that_was_killed_is_followed_by_one_at_a_time(
    shelf: Shelf, urls: Prepared, tmp_path: Path
) -> None:
    """The server goes on with the statement of a process that died, and nobody begins another beside it."""
    await shelf.fill(BOUND)
    async with shelf.library.lane.transaction(shelf.library.context) as tx:
        await tx.execute("LOCK TABLE datalane.chunk_vectors IN ROW EXCLUSIVE MODE")
        with a_maintenance_process(urls, tmp_path):
            assert await eventually(shelf.build_waits)
        await shelf.keep()
        assert (await shelf.statuses(), await shelf.valid()) == (["building"], [False])

    async def ready() -> bool:
        await shelf.keep()
        return await shelf.statuses() == ["ready"]

    assert await eventually(ready)
    assert await shelf.valid() == [True]
