"""Runs of judged queries: kept as they were, compared query by query."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import asyncpg
import pytest
from tests.conftest import a_context
from tests.integration.knowledge.runs import SHA, a_run

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.errors import Forbidden, InvalidInput, NotFound
from datalane.kit.ids import uuid7
from datalane.knowledge.evaluation.schemas import EvaluationRun, NewRun
from datalane.knowledge.evaluation.service import compare_runs, get_run, last_run, list_runs, record_run
from datalane.knowledge.methods import Method


async def keep(database: Database, context: Context, new: NewRun) -> EvaluationRun:
    async with database.transaction(context) as tx:
        return await record_run(tx, new)


async def test_a_run_is_kept_with_its_queries_the_worst_first(database: Database, context: Context) -> None:
    run = await keep(database, context, a_run({"good": 0.9, "bad": 0.1, "fair": 0.5}))
    assert run.measures["nDCG@10"].value == pytest.approx(0.5)
    assert run.measures["nDCG@10"].low < 0.5 < run.measures["nDCG@10"].high
    async with database.transaction(context) as tx:
        details = await get_run(tx, run.run_id)
    assert details.run == run
    assert [result.query_id for result in details.results] == ["bad", "fair", "good"]
    assert details.results[0].found == ["doc of bad"]


async def test_runs_come_in_pages_the_newest_first(database: Database, context: Context) -> None:
    runs = [await keep(database, context, a_run({"q": 0.5})) for _ in range(3)]
    async with database.transaction(context) as tx:
        first = await list_runs(tx, page_size=2)
        rest = await list_runs(tx, first.next_cursor, page_size=2)
    assert [*first.data, *rest.data] == sorted(runs, key=lambda run: run.run_id, reverse=True)
    assert rest.next_cursor is None


async def test_the_newest_run_of_the_same_dataset_and_method_is_the_last_one(
    database: Database, context: Context
) -> None:
    wanted = await keep(database, context, a_run({"q": 0.5}))
    await keep(database, context, a_run({"q": 0.5}, method=Method.KEYWORD, keyword_weight=None))
    await keep(database, context, a_run({"q": 0.5}, dataset_sha256="cd" * 32))
    async with database.transaction(context) as tx:
        assert await last_run(tx, SHA, Method.HYBRID) == wanted.run_id
        assert await last_run(tx, SHA, Method.SEMANTIC) is None


async def test_a_comparison_pairs_the_queries_and_names_what_changed(database: Database, context: Context) -> None:
    scores = {f"q{n:03}": 0.2 + (n % 7) / 20 for n in range(60)}
    before = await keep(database, context, a_run(scores))
    better = {key: score * 1.2 for key, score in scores.items()} | {"q000": scores["q000"], "q001": 0.0}
    after = await keep(database, context, a_run(better, versions={"chunker": "2", "model": "x/1"}))
    async with database.transaction(context) as tx:
        found = await compare_runs(tx, after.run_id, before.run_id)
    change = found.measures["nDCG@10"]
    assert (change.better, change.worse, change.equal, change.verdict) == (58, 1, 1, "better")
    assert change.ratio is not None
    assert 1 < change.ratio.low < change.ratio.value < change.ratio.high
    assert found.changed_versions == {"chunker": ("1", "2"), "model": (None, "x/1")}
    assert found.most_changed[0] == "q001"
    assert "q000" not in found.most_changed


async def test_a_total_loss_is_worse_and_few_queries_tell_nothing(database: Database, context: Context) -> None:
    for queries, verdict in ((30, "worse"), (9, "too few queries")):
        scores = {f"q{n}": 1.0 if n < 5 else 0.0 for n in range(queries)}
        before = await keep(database, context, a_run(scores))
        after = await keep(database, context, a_run(dict.fromkeys(scores, 0.0)))
        change = (await compare(database, context, after.run_id, before.run_id)).measures["nDCG@10"]
        assert change.verdict == verdict


async def test_runs_of_two_datasets_are_not_compared(database: Database, context: Context) -> None:
    one = await keep(database, context, a_run({"q": 0.5}))
    others = [a_run({"q": 0.5}, dataset_sha256="cd" * 32), a_run({"p": 0.5})]
    for other in others:
        kept = await keep(database, context, other)
        with pytest.raises(InvalidInput, match="different datasets"):
            await compare(database, context, kept.run_id, one.run_id)


async def compare(database: Database, context: Context, run_id: UUID, baseline_id: UUID) -> Any:
    async with database.transaction(context) as tx:
        return await compare_runs(tx, run_id, baseline_id)


async def test_a_query_that_stands_twice_is_refused_and_nothing_is_kept(database: Database, context: Context) -> None:
    twice = a_run({"q": 0.5})
    with pytest.raises(InvalidInput, match="twice"):
        await keep(database, context, twice.model_copy(update={"results": twice.results * 2}))
    async with database.transaction(context) as tx:
        assert (await list_runs(tx)).data == []


async def test_nobody_changes_a_run(database: Database, context: Context) -> None:
    await keep(database, context, a_run({"q": 0.5}))
    owner = a_context(context.workspace_id, Role.OWNER)
    for change in ("UPDATE datalane.evaluation_runs SET p95_ms = 0", "DELETE FROM datalane.evaluation_results"):
        with pytest.raises((asyncpg.InsufficientPrivilegeError, Forbidden)):
            await attempt(database, owner, change)


async def attempt(database: Database, context: Context, sql: str) -> None:
    async with database.transaction(context) as tx:
        await tx.execute(sql)


async def test_another_workspace_s_run_is_like_none(
    database: Database, context: Context, other_context: Context
) -> None:
    mine = await keep(database, context, a_run({"q": 0.5}))
    theirs = await keep(database, other_context, a_run({"q": 0.5}))
    messages = set()
    for run_id, baseline_id in [(mine.run_id, theirs.run_id), (theirs.run_id, mine.run_id), (uuid7(), mine.run_id)]:
        with pytest.raises(NotFound) as told:
            await compare(database, context, run_id, baseline_id)
        messages.add(str(told.value))
    assert messages == {"no such run"}


async def test_a_viewer_reads_runs_and_keeps_none(database: Database, context: Context) -> None:
    run = await keep(database, context, a_run({"q": 0.5}))
    viewer = a_context(context.workspace_id, Role.VIEWER)
    async with database.transaction(viewer) as tx:
        assert (await get_run(tx, run.run_id)).run == run
    with pytest.raises(Forbidden):
        await keep(database, viewer, a_run({"q": 0.5}))
