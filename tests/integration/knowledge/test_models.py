"""Moving a workspace to another embedding model, and back: nothing fails, nothing is mixed, nothing is left over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from tests.conftest import a_context
from tests.integration.engine.lab import eventually
from tests.integration.knowledge.embedding_server import vector_of
from tests.integration.knowledge.endpoints import DIMENSIONS, RunningEndpoint, running_endpoint
from tests.integration.knowledge.library import Library, a_job, until_somebody_waits

from datalane.contracts.context import Context, Role
from datalane.db.provision import Prepared
from datalane.errors import Conflict, Forbidden, IllegalTransition, LimitExceeded, NotFound
from datalane.knowledge.embeddings import passage_text
from datalane.knowledge.endpoint import Endpoint
from datalane.knowledge.indexing import IndexChunks, index_chunks
from datalane.knowledge.ingestion import ModelsChanged
from datalane.knowledge.methods import Method
from datalane.knowledge.models import backfill, service
from datalane.knowledge.models.backfill import BACKFILL, CLEAR, ModelJobs
from datalane.knowledge.models.schemas import EmbeddingModel, ModelState, ModelTarget
from datalane.knowledge.providers import EmbeddingFailed, ModelUnavailable, Providers
from datalane.knowledge.retrieval.schemas import Answer, Query
from datalane.knowledge.retrieval.service import answer
from datalane.knowledge.runtime import open_knowledge
from datalane.lane import Lane
from datalane.settings import EmbeddingSettings, Settings

NEAR = f"near:bags/{DIMENSIONS}-1"
TEXTS = [f"{animal} near the harbour at night, number {n}" for n, animal in enumerate(["owl", "heron", "fox", "owl"])]
Change = Callable[..., Awaitable[ModelState]]


@pytest.fixture(scope="module")
def running() -> Iterator[RunningEndpoint]:
    with running_endpoint() as endpoint:
        yield endpoint


@pytest.fixture
async def idle(urls: Prepared, tmp_path: Path, running: RunningEndpoint) -> AsyncIterator[Library]:
    """A lane that has a second model; no worker runs."""
    running.behave(times=0)
    others = [running.settings(), *(running.settings(version=f"other{n}") for n in range(service.MOST_MODELS))]
    settings, lane = Settings(home=tmp_path, embeddings=EmbeddingSettings(endpoints=tuple(others))), Lane()
    async with lane.open(settings, urls.database_url), open_knowledge(settings) as knowledge:
        knowledge.register(lane.handlers, lane.database)
        yield Library(lane, knowledge, a_context(role=Role.OWNER))


@pytest.fixture
async def library(idle: Library) -> AsyncIterator[Library]:
    async with idle.working():
        yield idle


async def change(library: Library, how: Change, model: str = NEAR, context: Context | None = None) -> ModelState:
    target = ModelTarget(model_version=model)
    async with library.lane.transaction(context or library.context) as tx:
        if how is service.retire_model:
            return await service.retire_model(tx, target)
        return await how(tx, library.knowledge.providers, target)


async def models(library: Library, context: Context | None = None) -> dict[str, EmbeddingModel]:
    async with library.lane.transaction(context or library.context) as tx:
        listed = await service.list_models(tx, library.knowledge.providers)
    return {model.model_version: model for model in listed.data}


async def until(
    library: Library, holds: Callable[[EmbeddingModel], Any], context: Context | None = None
) -> EmbeddingModel:
    """The second model as soon as that holds."""

    async def held() -> EmbeddingModel | None:
        model = (await models(library, context))[NEAR]
        return model if holds(model) else None

    model = await eventually(held)
    assert model is not None
    return model


async def fill(library: Library, context: Context | None = None) -> None:
    await change(library, service.register_model, context=context)
    await until(library, lambda model: model.status == "ready", context)


async def ask(library: Library, text: str, method: Method = Method.SEMANTIC, context: Context | None = None) -> Answer:
    asked = Query(query=text, method=method, limit=100)
    return await answer(library.lane.transaction, context or library.context, library.knowledge.providers, asked)


async def bring_in_all(library: Library) -> None:
    for n, text in enumerate(TEXTS):
        await library.bring_in(text, filename=f"{n}.txt")


async def clear(library: Library) -> int:
    """Run the jobs that remove vectors, whose time has not come yet; answers how many vectors are left."""
    jobs = ModelJobs(library.lane.database, library.knowledge.providers)
    rows = await library.fetch("SELECT args FROM datalane.jobs WHERE kind = $1 ORDER BY id", CLEAR)
    for row in rows:
        async with library.lane.transaction(library.acting(Role.SYSTEM)) as tx:
            await jobs.clear(tx, a_job(library.context, CLEAR, row["args"]))
    return await library.count("chunk_vectors")


async def vectors_without_their_chunk(library: Library) -> int:
    """Vectors of chunks that are not current, counted in SQL."""
    [row] = await library.fetch(
        "SELECT count(*) FROM datalane.chunk_vectors v LEFT JOIN datalane.chunks c USING (workspace_id, chunk_id)"
        " LEFT JOIN datalane.documents d ON d.document_id = c.document_id AND d.current_version_id = c.version_id"
        " WHERE d.document_id IS NULL"
    )
    return int(row[0])


def scores(found: Answer) -> dict[str, float]:
    return {result.text: result.retrieval_score for result in found.data}


def cosines(text: str, passages: list[str]) -> dict[str, float]:
    """Brute force by the second model."""
    rows = np.array([vector_of(passage_text(None, one), DIMENSIONS) for one in (text, *passages)])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return dict(zip(passages, (rows[1:] @ rows[0]).tolist(), strict=True))


# The move ------------------------------------------------------------------------------------------------------


async def test_a_workspace_that_registered_none_has_the_lane_s_own_model(library: Library) -> None:
    usual = library.knowledge.providers.usual
    await library.bring_in(TEXTS[0])
    listed = await models(library)
    assert (listed[usual].status, listed[usual].chunks, listed[usual].chunks_in_all) == ("active", 1, 1)
    assert (listed[NEAR].status, listed[NEAR].chunks, listed[NEAR].dimensions) == ("available", 0, DIMENSIONS)


async def test_a_model_is_filled_searched_left_again_and_removed(library: Library) -> None:
    usual = library.knowledge.providers.usual
    await bring_in_all(library)
    before = await ask(library, "owl at night")
    assert (await change(library, service.register_model)).status == "filling"
    filled = await until(library, lambda model: model.status == "ready")
    assert filled.chunks == filled.chunks_in_all == len(TEXTS)
    assert scores(await ask(library, "owl at night")) == scores(before), "it is not searched yet"

    assert (await change(library, service.activate_model)).status == "active"
    after = await ask(library, "owl at night")
    assert {result.embedding_model_version for result in after.data} == {NEAR}
    expected = cosines("owl at night", TEXTS)
    assert scores(after) == pytest.approx(expected, abs=1e-6)
    assert list(scores(after)) == sorted(expected, key=lambda text: -expected[text])

    assert (await change(library, service.activate_model, usual)).status == "active"
    assert scores(await ask(library, "owl at night")) == scores(before)
    assert (await change(library, service.retire_model)).status == "retired"
    assert await clear(library) == len(TEXTS)
    await fill(library)
    assert (await models(library))[NEAR].chunks == len(TEXTS)


async def test_what_comes_meanwhile_has_vectors_of_both_models(library: Library) -> None:
    await library.bring_in(TEXTS[0], filename="old.txt")
    await fill(library)
    document = await library.bring_in(TEXTS[1], filename="new.txt")
    assert {model.chunks for model in (await models(library)).values() if model.status != "available"} == {2}
    await library.bring_in(TEXTS[2], filename="new.txt", document_id=document.document_id)
    await change(library, service.activate_model)
    found = await ask(library, "fox")
    assert set(scores(found)) == {TEXTS[0], TEXTS[2]}
    assert await vectors_without_their_chunk(library) == 0


async def test_queries_go_on_during_the_move_and_each_answer_is_of_one_model(library: Library) -> None:
    usual = library.knowledge.providers.usual
    await bring_in_all(library)
    by_model = {usual: scores(await ask(library, "owl at night"))}
    by_model[NEAR] = cosines("owl at night", TEXTS)
    done, seen = asyncio.Event(), set[str]()

    async def look() -> None:
        while not done.is_set():
            for method in (Method.SEMANTIC, Method.HYBRID):
                found = await ask(library, "owl at night", method)
                [model] = {result.embedding_model_version for result in found.data}
                semantic = {result.text: result.component_scores.semantic for result in found.data}
                assert semantic == pytest.approx(by_model[model], abs=1e-6)
                seen.add(model)

    looking = [asyncio.create_task(look()) for _ in range(3)]
    await fill(library)
    for _ in range(5):
        for model in (NEAR, usual):
            await change(library, service.activate_model, model)
            await ask(library, "owl at night")
    await change(library, service.retire_model)
    done.set()
    await asyncio.gather(*looking)
    assert seen == {usual, NEAR}


async def test_many_chunks_are_filled_in_slices_each_a_job(idle: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "SLICE", 3)
    async with idle.working():
        for n in range(8):
            await idle.bring_in(f"note number {n}", filename=f"{n}.txt")
        await fill(idle)
    rows = await idle.fetch("SELECT count(*) FROM datalane.job_history WHERE kind = $1", BACKFILL)
    assert rows[0][0] == 3
    assert (await models(idle))[NEAR].chunks == 8


async def test_a_filling_model_says_how_far_it_is(idle: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "SLICE", 3)
    async with idle.working():
        for n in range(8):
            await idle.bring_in(f"note number {n}", filename=f"{n}.txt")
    await change(idle, service.register_model)
    jobs, first = ModelJobs(idle.lane.database, idle.knowledge.providers), str(UUID(int=0))
    slice_of_three = a_job(idle.context, BACKFILL, {"model_version": NEAR, "following": first})
    prepared = await jobs.prepare([slice_of_three])
    async with idle.lane.transaction(idle.acting(Role.SYSTEM)) as tx:
        await jobs.apply(tx, [slice_of_three], prepared)
    halfway = (await models(idle))[NEAR]
    assert (halfway.status, halfway.chunks, halfway.chunks_in_all) == ("filling", 3, 8)


# Who comes between ---------------------------------------------------------------------------------------------


async def test_registering_waits_for_who_writes_without_the_model(idle: Library) -> None:
    usual, _limits = idle.knowledge.providers.usual, idle.lane.settings.limits
    request = IndexChunks(text=TEXTS[0])
    prepared = await idle.prepare(request)
    async with idle.lane.transaction(idle.context) as tx:
        await index_chunks(tx, prepared)
        registering = asyncio.create_task(change(idle, service.register_model))
        await until_somebody_waits(tx.connection)
        assert not registering.done()
    await registering
    async with idle.working():
        await until(idle, lambda model: model.status == "ready")
    assert {model.chunks for name, model in (await models(idle)).items() if name in {usual, NEAR}} == {1}


async def test_what_was_prepared_before_a_model_was_registered_is_prepared_again(idle: Library) -> None:
    _usual, _limits, request = idle.knowledge.providers.usual, idle.lane.settings.limits, IndexChunks(text=TEXTS[0])
    prepared = await idle.prepare(request)
    await change(idle, service.register_model)
    with pytest.raises(ModelsChanged, match="try again"):
        async with idle.lane.transaction(idle.context) as tx:
            await index_chunks(tx, prepared)
    assert await idle.count("documents") == 0


async def test_a_document_that_was_replaced_while_it_was_embedded_leaves_nothing(idle: Library) -> None:
    async with idle.working():
        document = await idle.bring_in(TEXTS[0], filename="a.txt")
    await change(idle, service.register_model)
    jobs = ModelJobs(idle.lane.database, idle.knowledge.providers)
    job = a_job(idle.context, BACKFILL, {"model_version": NEAR, "following": str(UUID(int=0))})
    slices = await jobs.prepare([job])
    async with idle.working():
        await idle.bring_in(TEXTS[1], filename="a.txt", document_id=document.document_id)
        await until(idle, lambda model: model.status == "ready")
    async with idle.lane.transaction(idle.acting(Role.SYSTEM)) as tx:
        await jobs.apply(tx, [job], slices)
    assert await vectors_without_their_chunk(idle) == 0
    assert (await models(idle))[NEAR].chunks == 1


# Faults --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nonsense", "says"),
    [({"dimensions": 3}, "3 dimensions, not 8"), ({"first": ["nan"]}, "not finite")],
)
async def test_an_endpoint_that_makes_nonsense_stops_the_filling_and_registering_again_goes_on(
    library: Library, running: RunningEndpoint, nonsense: dict[str, Any], says: str
) -> None:
    for number, text in enumerate(TEXTS):
        await library.bring_in(text, filename=f"{number}.txt")
    running.behave(**nonsense)
    await change(library, service.register_model)
    stopped = await until(library, lambda model: model.backfill is not None and model.backfill.status == "failed")
    assert stopped.backfill is not None
    assert (stopped.status, stopped.backfill.error_class) == ("filling", "embedding_refused")
    assert says in (stopped.backfill.error_message or "")
    assert (stopped.chunks, stopped.chunks_in_all) == (0, len(TEXTS))
    await fill(library)
    assert (await models(library))[NEAR].backfill is None, "the job has completed"


@pytest.mark.parametrize("rows", [0, 2])
async def test_half_a_batch_or_nothing_fills_nothing_and_is_asked_for_again(
    library: Library, running: RunningEndpoint, rows: int
) -> None:
    for number, text in enumerate(TEXTS):
        await library.bring_in(text, filename=f"{number}.txt")
    running.behave(rows=rows)
    await change(library, service.register_model)
    waiting = await until(library, lambda model: model.backfill is not None and model.backfill.status == "retrying")
    assert (waiting.status, waiting.chunks, waiting.chunks_in_all) == ("filling", 0, len(TEXTS))
    assert waiting.backfill is not None
    assert f"{rows} vectors for {len(TEXTS)} texts" in (waiting.backfill.error_message or "")


async def test_a_text_that_the_endpoint_will_not_take_fails_its_own_document_and_no_other(
    idle: Library, running: RunningEndpoint
) -> None:
    await change(idle, service.register_model)
    ids = [(await idle.upload(text.encode(), filename=f"{n}.txt")).document_id for n, text in enumerate(TEXTS)]
    running.behave(times=2, status=400)  # the batch, and the first document by itself
    async with idle.working():
        outcomes = await idle.through(len(ids))
    assert sorted(outcome for outcome, _ in outcomes) == ["document.failed"] + ["document.ingested"] * 3
    [failed] = [
        document for document in [await idle.document(one) for one in ids] if document.current_version_id is None
    ]
    assert failed.ingestion.error_class == "embedding_refused"


async def test_an_upload_waits_for_an_endpoint_that_is_away(idle: Library, running: RunningEndpoint) -> None:
    await change(idle, service.register_model)
    uploaded = await idle.upload(TEXTS[0].encode(), filename="a.txt")
    running.behave(status=503)

    async def is_put_off() -> bool:
        ingestion = (await idle.document(uploaded.document_id)).ingestion
        return (ingestion.status, ingestion.error_class) == ("retrying", "embedding_failed")

    async with idle.working():
        assert await eventually(is_put_off)
    assert (await idle.document(uploaded.document_id)).ingestion.attempt_count == 0


async def test_vectors_that_are_left_over_are_removed_by_retiring_again(
    idle: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with idle.working():
        await bring_in_all(idle)
        await fill(idle)
    await change(idle, service.retire_model)
    monkeypatch.setattr(backfill, "CLEARED", 3)
    assert await clear(idle) == 2 * len(TEXTS) - 3, "the rest is the next job's"
    assert len(await idle.fetch("SELECT FROM datalane.jobs WHERE kind = $1", CLEAR)) == 2
    await change(idle, service.retire_model)
    assert await clear(idle) == len(TEXTS)


async def test_a_model_that_came_back_and_went_again_is_not_cleared_before_its_time(library: Library) -> None:
    await bring_in_all(library)
    await fill(library)
    await change(library, service.retire_model)
    [early] = await library.fetch("SELECT args FROM datalane.jobs WHERE kind = $1", CLEAR)
    await fill(library)
    await change(library, service.retire_model)
    jobs = ModelJobs(library.lane.database, library.knowledge.providers)
    async with library.lane.transaction(library.acting(Role.SYSTEM)) as tx:
        await jobs.clear(tx, a_job(library.context, CLEAR, early["args"]))
    assert await library.count("chunk_vectors") == 2 * len(TEXTS)


async def test_who_has_to_wait_spends_no_attempt_and_others_go_on(library: Library, running: RunningEndpoint) -> None:
    other = a_context(role=Role.OWNER)
    await library.bring_in(TEXTS[0])
    await library.bring_in(TEXTS[1], other)
    running.behave(status=429, retry_after=3_600)
    await change(library, service.register_model)
    waiting = await until(library, lambda model: model.backfill is not None and model.backfill.error_class)
    assert waiting.backfill is not None
    assert (waiting.backfill.status, waiting.backfill.error_class) == ("retrying", "rate_limited")
    assert waiting.backfill.attempt_count == 0
    await fill(library, other)
    assert (await models(library))[NEAR].chunks == 0


async def test_a_query_says_when_the_endpoint_gives_no_vector(library: Library, running: RunningEndpoint) -> None:
    await library.bring_in(TEXTS[0])
    await fill(library)
    await change(library, service.activate_model)
    running.behave(rows=0)
    with pytest.raises(EmbeddingFailed, match="0 vectors for 1 texts"):
        await ask(library, "owl")
    assert (await ask(library, "owl")).data
    running.behave(rows=0)
    assert (await ask(library, "owl", Method.KEYWORD)).data, "words need no vector"


async def test_a_model_that_this_lane_does_not_have_is_named_and_not_mixed_with_another(library: Library) -> None:
    await library.bring_in(TEXTS[0])
    await fill(library)
    await change(library, service.activate_model)
    whole, poorer = library.knowledge.providers, Providers(library.knowledge.providers.builtin)
    with pytest.raises(ModelUnavailable, match=f"no embedding model {NEAR}"):
        await answer(library.lane.transaction, library.context, poorer, Query(query="owl"))
    async with library.lane.transaction(library.context) as tx:
        listed = {one.model_version: one for one in (await service.list_models(tx, poorer)).data}
    assert (listed[NEAR].status, listed[NEAR].served) == ("active", False)
    assert listed[whole.usual].served


async def test_vectors_of_an_earlier_release_keep_their_name_and_are_replaced_by_a_move(library: Library) -> None:
    await library.bring_in(TEXTS[0])
    async with library.lane.transaction(library.acting(Role.SYSTEM)) as tx:
        await tx.execute("UPDATE datalane.chunk_vectors SET model_version = 'wordllama/earlier'")
    with pytest.raises(ModelUnavailable, match="wordllama/earlier"):
        await ask(library, "owl")
    usual = library.knowledge.providers.usual
    await change(library, service.register_model, usual)

    async def is_ready() -> bool:
        return (await models(library))[usual].status == "ready"

    assert await eventually(is_ready)
    await change(library, service.activate_model, usual)
    assert set(scores(await ask(library, "owl"))) == {TEXTS[0]}
    assert (await models(library))["wordllama/earlier"].status == "ready"


# What may not be -----------------------------------------------------------------------------------------------


async def test_states_that_do_not_follow_are_refused(idle: Library) -> None:
    usual = idle.knowledge.providers.usual
    with pytest.raises(NotFound, match="register it first"):
        await change(idle, service.activate_model)
    with pytest.raises(NotFound, match="this lane has no embedding model nobody/1; it has near:bags"):
        await change(idle, service.register_model, "nobody/1")
    await change(idle, service.register_model)
    with pytest.raises(IllegalTransition, match="from filling to active"):
        await change(idle, service.activate_model)
    with pytest.raises(IllegalTransition, match="from active to retired"):
        await change(idle, service.retire_model, usual)


async def test_a_workspace_has_so_many_models_and_no_more(idle: Library) -> None:
    for n in range(service.MOST_MODELS - 1):
        await change(idle, service.register_model, f"near:bags/{DIMENSIONS}-other{n}")
    with pytest.raises(LimitExceeded, match="retire one first"):
        await change(idle, service.register_model)
    await change(idle, service.retire_model, f"near:bags/{DIMENSIONS}-other0")
    assert (await change(idle, service.register_model)).status == "filling"


async def test_a_model_that_lacks_a_vector_is_not_searched_until_it_is_filled_again(library: Library) -> None:
    await bring_in_all(library)
    await fill(library)
    async with library.lane.transaction(library.acting(Role.SYSTEM)) as tx:
        await tx.execute(
            "DELETE FROM datalane.chunk_vectors WHERE model_version = $1 AND chunk_id ="
            " (SELECT chunk_id FROM datalane.chunks LIMIT 1)",
            NEAR,
        )
    with pytest.raises(Conflict, match="register it again"):
        await change(library, service.activate_model)
    await change(library, service.register_model)
    await until(library, lambda model: model.chunks == len(TEXTS))
    assert (await change(library, service.activate_model)).status == "active"


async def test_a_searched_model_that_lacks_vectors_gets_them_where_it_is(library: Library) -> None:
    await bring_in_all(library)
    await fill(library)
    await change(library, service.activate_model)
    async with library.lane.transaction(library.acting(Role.SYSTEM)) as tx:
        await tx.execute("DELETE FROM datalane.chunk_vectors WHERE model_version = $1", NEAR)
    assert (await change(library, service.register_model)).status == "active"
    await until(library, lambda model: model.chunks == len(TEXTS))
    assert len((await ask(library, "owl")).data) == len(TEXTS)


@pytest.mark.parametrize("how", [service.register_model, service.activate_model, service.retire_model])
async def test_a_member_changes_no_model(idle: Library, how: Change) -> None:
    with pytest.raises(Forbidden):
        await change(idle, how, context=idle.acting(Role.MEMBER))


async def test_the_move_of_one_workspace_moves_no_other(library: Library) -> None:
    other = a_context(role=Role.OWNER)
    await library.bring_in(TEXTS[0])
    await library.bring_in(TEXTS[1], other)
    before = scores(await ask(library, "owl", context=other))
    await fill(library)
    await change(library, service.activate_model)
    assert scores(await ask(library, "owl", context=other)) == before
    assert (await models(library, other))[NEAR].status == "available"


def test_an_endpoint_names_its_space_by_model_dimensions_and_version(running: RunningEndpoint) -> None:
    endpoint = Endpoint(running.settings(version="2026-11"))
    assert f"{endpoint.name}/{endpoint.version}" == f"near:bags/{DIMENSIONS}-2026-11"
