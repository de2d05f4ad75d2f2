"""The log of what was asked: what it keeps, of whom it does not tell, and what it costs."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import asyncpg
import pytest
from prometheus_client import REGISTRY
from tests.integration.knowledge.library import Library
from tests.integration.knowledge.runs import a_run, judged_results

from datalane.contracts.context import Context, Role
from datalane.errors import Forbidden, InvalidInput
from datalane.knowledge.confidence.service import calibrate
from datalane.knowledge.evaluation.service import record_run
from datalane.knowledge.methods import Method
from datalane.knowledge.retrieval.asked import list_asked
from datalane.knowledge.retrieval.schemas import AskedQuery, DocumentFilters, Query, TagsWanted
from datalane.knowledge.retrieval.service import answer


async def ask(library: Library, context: Context | None = None, logged: bool = True, **said: Any) -> None:
    asked = Query(**{"query": "owl"} | said)
    await answer(
        library.lane.transaction, context or library.context, library.knowledge.providers, asked, logged=logged
    )


async def asked(library: Library, context: Context | None = None, missed: bool | None = None) -> list[AskedQuery]:
    async with library.lane.transaction(context or library.context) as tx:
        return (await list_asked(tx, missed)).data


async def test_a_query_leaves_what_was_asked_and_how_that_went(library: Library) -> None:
    await library.bring_in("An owl at night.")
    await ask(library, query="  owl ", filters=DocumentFilters(tags=TagsWanted(any=["none"])))
    await ask(library, library.acting(Role.VIEWER), method=Method.SEMANTIC)
    semantic, filtered = sorted(await asked(library), key=lambda one: one.asked_at, reverse=True)
    assert (filtered.question, filtered.method, filtered.filtered) == ("owl", Method.HYBRID, True)
    assert (filtered.found, filtered.best_score, filtered.missed) == (0, None, True)
    assert filtered.embedding_model_version == library.knowledge.providers.usual, "that nothing was found says it too"
    assert (semantic.found, semantic.missed, semantic.filtered) == (1, False, False)
    assert semantic.embedding_model_version == library.knowledge.providers.usual
    assert semantic.best_score is not None
    assert 0 < semantic.milliseconds < 60_000
    assert semantic.correlation_id == library.context.correlation_id


async def test_a_line_says_which_versions_decided_the_answer_and_none_that_had_no_part(library: Library) -> None:
    await library.bring_in("An owl at night.")
    usual = library.knowledge.providers.usual
    async with library.lane.transaction(library.acting(Role.OWNER)) as tx:
        run = await record_run(tx, a_run({"q": 0.5}, versions={"embedding_model": usual}))
        learned = await calibrate(tx, run.run_id, judged_results())
    for method in Method:
        await ask(library, method=method, keyword_weight=learned.keyword_weight)
    told = {
        one.method: (one.embedding_model_version, one.search_language, one.keyword_weight, one.calibration_id)
        for one in await asked(library)
    }
    assert told == {
        Method.HYBRID: (usual, "english", learned.keyword_weight, learned.calibration_id),
        Method.KEYWORD: (None, "english", None, None),
        Method.SEMANTIC: (usual, None, None, None),
    }
    assert {one.datalane_version for one in await asked(library)} == {version("datalane")}


async def test_the_verb_is_called_as_before(library: Library) -> None:
    await attempt(library, "SELECT datalane.log_retrieval('q', 'keyword', false, 0, NULL, true, NULL, 1)")
    [one] = await asked(library)
    assert (one.question, one.search_language, one.datalane_version) == ("q", None, None)


async def test_words_that_no_document_has_are_a_miss_although_something_was_found(library: Library) -> None:
    await library.bring_in("An owl at night.")
    for method in Method:
        await ask(library, query="zeppelin", method=method)
    told = {one.method: (one.found, one.missed) for one in await asked(library)}
    assert told == {Method.HYBRID: (1, True), Method.KEYWORD: (0, True), Method.SEMANTIC: (1, False)}
    assert {one.method for one in await asked(library, missed=True)} == {Method.HYBRID, Method.KEYWORD}
    assert {one.method for one in await asked(library, missed=False)} == {Method.SEMANTIC}


async def test_the_log_is_the_workspace_s_own_and_does_not_say_who_asked(
    library: Library, other_context: Context
) -> None:
    await ask(library)
    assert await asked(library, other_context) == []
    [row] = await library.fetch("SELECT to_jsonb(l) AS told FROM datalane.retrieval_log l")
    assert str(library.context.actor_id) not in str(row["told"])


async def test_a_refused_query_and_one_that_is_not_to_be_logged_leave_nothing(library: Library) -> None:
    with pytest.raises(InvalidInput):
        await ask(library, query=" ")
    await ask(library, logged=False)
    assert await asked(library) == []


async def test_nobody_writes_the_log_past_its_verb(library: Library) -> None:
    await ask(library)
    statements = ("DELETE FROM datalane.retrieval_log", "UPDATE datalane.retrieval_log SET missed = true")
    for statement in statements:
        with pytest.raises((asyncpg.InsufficientPrivilegeError, Forbidden)):
            await attempt(library, statement)
    with pytest.raises(InvalidInput, match="semantic, keyword or hybrid, not guess"):
        await attempt(library, "SELECT datalane.log_retrieval('q', 'guess', false, 0, NULL, true, NULL, 1)")


async def attempt(library: Library, sql: str) -> None:
    async with library.lane.transaction(library.acting(Role.OWNER)) as tx:
        await tx.execute(sql)


async def test_retrievals_are_counted_by_method_and_outcome(library: Library) -> None:
    labels = {"method": "keyword", "outcome": "missed"}

    def counted() -> float:
        return REGISTRY.get_sample_value("datalane_retrievals_total", labels) or 0

    before = counted()
    await ask(library, method=Method.KEYWORD)
    assert counted() == before + 1


async def test_only_a_log_s_own_transaction_does_not_wait_for_the_disk(library: Library) -> None:
    await ask(library)
    async with library.lane.transaction(library.context) as tx:
        assert await tx.fetchval("SHOW synchronous_commit") == "on"
