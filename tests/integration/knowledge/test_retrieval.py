"""What a query may hold, and that scores are what the literature says they are, in each workspace alone."""

from __future__ import annotations

import math
from collections import Counter
from uuid import UUID

import numpy as np
import pytest
from pydantic import ValidationError
from tests.integration.knowledge.library import Library

from datalane.contracts.context import Context, Role
from datalane.errors import InvalidInput, LimitExceeded
from datalane.knowledge.embeddings import passage_text
from datalane.knowledge.methods import Method
from datalane.knowledge.providers import QueryVectors
from datalane.knowledge.retrieval import service
from datalane.knowledge.retrieval.schemas import Query
from datalane.knowledge.retrieval.service import answer, check_query, retrieve

TEXTS = (
    "The owl hunts at night, and the owl sleeps by day.",
    "At night the harbour is quiet; the lights of the harbour are green.",
    "Green apples and green pears, green as grass.",
    "A day at sea, a night in the harbour, an apple in the hand.",
    "Grass grows slowly on the dunes. " * 90,
    "Owls, pears, lights, dunes and hands.",
)
QUESTIONS = ("green harbour at night", "owl", "owl owl night", "dunes grass apple pears lights", "hands of the owls")


async def bring_in_all(library: Library, context: Context | None = None, texts: tuple[str, ...] = TEXTS) -> None:
    for number, text in enumerate(texts):
        await library.upload(text.encode(), context, filename=f"{number}.txt", title=f"Page {number}")
    await library.through(len(texts))


async def test_a_query_over_the_limit_names_the_limit(idle_library: Library) -> None:
    with pytest.raises(LimitExceeded, match="limit is 8,000"):
        await idle_library.ask("x" * 100_000, Method.HYBRID)


async def test_a_query_of_stop_words_finds_no_keyword(library: Library) -> None:
    await library.bring_in("The owl hunts at night.")
    keyword = await library.ask("the of and at", Method.KEYWORD)
    assert (keyword.data, keyword.keyword_terms_found) == ([], False)
    hybrid = await library.ask("the of and at", Method.HYBRID)
    assert hybrid.keyword_terms_found is False
    assert (await library.ask("the of and at", Method.SEMANTIC)).keyword_terms_found is None


async def test_a_query_in_an_empty_workspace_finds_nothing(idle_library: Library) -> None:
    for method in Method:
        assert (await idle_library.ask("owl", method)).data == []


@pytest.mark.parametrize("text", [" ", "\x00", "\n\t"])
async def test_a_query_without_a_character_is_refused(idle_library: Library, text: str) -> None:
    with pytest.raises(InvalidInput, match="empty"):
        await idle_library.ask(text, Method.HYBRID)


def test_a_lone_surrogate_in_a_query_is_refused() -> None:
    with pytest.raises(InvalidInput, match="surrogate"):
        check_query("half \ud800 a character")
    with pytest.raises(ValidationError):
        Query(query="half \ud800 a character")


async def test_a_nul_in_a_query_counts_as_a_space(library: Library) -> None:
    await library.bring_in("The owl hunts at night.")
    assert (await library.ask("owl\x00night", Method.KEYWORD)).data[0].component_scores.keyword


async def test_punctuation_and_operators_are_no_syntax(library: Library) -> None:
    await library.bring_in("The owl hunts at night.")
    for text in ("owl & | ! ( ) : * <-> '", "'; DROP TABLE datalane.chunks; -- owl", "owl:*"):
        assert len((await library.ask(text, Method.KEYWORD)).data) == 1


async def test_a_query_of_very_many_words_counts_the_rarest(library: Library) -> None:
    await bring_in_all(library)
    filler = " ".join(f"nowhere{number}" for number in range(300))
    answer = await library.ask(f"{filler} owl harbour", Method.KEYWORD)
    assert {result.source_title for result in answer.data} == {"Page 0", "Page 1", "Page 3", "Page 5"}


async def indexed_tokens(library: Library) -> dict[UUID, Counter[str]]:
    """The lexemes of each indexed passage, from the database's own analysis of title and chunk."""
    rows = await library.fetch(
        "SELECT c.chunk_id, l.lexeme, cardinality(l.positions) AS tf FROM datalane.chunks c"
        " JOIN datalane.document_versions v USING (workspace_id, version_id)"
        " JOIN datalane.documents d ON d.workspace_id = c.workspace_id AND d.current_version_id = c.version_id,"
        " unnest(to_tsvector('english', v.title || E'\\n' || c.text)) AS l"
    )
    found: dict[UUID, Counter[str]] = {}
    for row in rows:
        found.setdefault(row["chunk_id"], Counter())[row["lexeme"]] = row["tf"]
    return found


def bm25(passages: dict[UUID, Counter[str]], question: Counter[str]) -> dict[UUID, float]:
    """BM25 after the textbook: k1 1.2, b 0.75, idf ln(1 + (N - df + 0.5) / (df + 0.5))."""
    average = sum(sum(passage.values()) for passage in passages.values()) / len(passages)
    scores: dict[UUID, float] = {}
    for key, passage in passages.items():
        for term, weight in question.items():
            if tf := passage[term]:
                df = sum(term in other for other in passages.values())
                idf = math.log(1 + (len(passages) - df + 0.5) / (df + 0.5))
                norm = tf + 1.2 * (1 - 0.75 + 0.75 * sum(passage.values()) / average)
                scores[key] = scores.get(key, 0.0) + weight * idf * tf / norm
    return scores


async def test_keyword_scores_are_bm25(library: Library) -> None:
    await bring_in_all(library)
    passages = await indexed_tokens(library)
    assert len(passages) > len(TEXTS)
    for text in QUESTIONS:
        tokens = await library.fetch(
            "SELECT lexeme, cardinality(positions) FROM unnest(to_tsvector('english', $1))", text
        )
        expected = bm25(passages, Counter({row[0]: row[1] for row in tokens}))
        answer = await library.ask(text, Method.KEYWORD, limit=100)
        got = {result.chunk_id: result.retrieval_score for result in answer.data}
        assert got.keys() == expected.keys()
        assert all(abs(got[key] - expected[key]) < 1e-9 for key in expected)
        assert list(got) == sorted(expected, key=lambda key: (-got[key], key.int))


async def test_semantic_search_equals_brute_force(library: Library) -> None:
    await bring_in_all(library)
    rows = await library.fetch(
        "SELECT chunk_id, coalesce(v.title, '') AS title, c.text FROM datalane.chunks c"
        " JOIN datalane.document_versions v USING (workspace_id, version_id)"
    )
    passages = [passage_text(row["title"], row["text"]) for row in rows]
    vectors = library.knowledge.embedder.embed(passages)
    for text in QUESTIONS:
        cosine = vectors @ library.knowledge.embedder.embed([text])[0]
        answer = await library.ask(text, Method.SEMANTIC, limit=100)
        got = {result.chunk_id: result.retrieval_score for result in answer.data}
        expected = {row["chunk_id"]: float(score) for row, score in zip(rows, cosine, strict=True)}
        assert got.keys() == expected.keys()
        assert np.allclose([got[key] for key in expected], list(expected.values()), atol=1e-6)
        assert list(got.values()) == sorted(got.values(), reverse=True)


async def test_hybrid_answers_carry_the_scores_of_both_methods(library: Library) -> None:
    await bring_in_all(library)
    keyword = {r.chunk_id: r.retrieval_score for r in (await library.ask("owl", Method.KEYWORD, limit=100)).data}
    semantic = {r.chunk_id: r.retrieval_score for r in (await library.ask("owl", Method.SEMANTIC, limit=100)).data}
    hybrid = (await library.ask("owl", Method.HYBRID, limit=100)).data
    assert {result.chunk_id for result in hybrid} == keyword.keys() | semantic.keys()
    for result in hybrid:
        assert result.component_scores.keyword == keyword.get(result.chunk_id)
        assert result.component_scores.semantic == semantic.get(result.chunk_id)
        assert 0 <= result.retrieval_score <= 1
    assert [result.retrieval_rank for result in hybrid] == list(range(1, len(hybrid) + 1))


async def test_another_workspace_s_documents_move_no_score(library: Library, other_context: Context) -> None:
    await bring_in_all(library)
    before = {
        (method, text): [(r.chunk_id, r.retrieval_score) for r in (await library.ask(text, method, limit=100)).data]
        for method in Method
        for text in QUESTIONS
    }
    await bring_in_all(library, other_context, ("Owls and harbours, owls at night. " * 300, *TEXTS))
    for (method, text), expected in before.items():
        answer = await library.ask(text, method, limit=100)
        assert [(r.chunk_id, r.retrieval_score) for r in answer.data] == expected
        assert {r.workspace_id for r in answer.data} == {library.context.workspace_id}


@pytest.mark.soak
async def test_ten_thousand_documents_of_another_workspace_move_no_score(
    library: Library, other_context: Context
) -> None:
    await bring_in_all(library)
    before = {text: (await library.ask(text, Method.KEYWORD, limit=100)).data for text in QUESTIONS}
    for number in range(10_000):
        words = " ".join(QUESTIONS[number % len(QUESTIONS) :])
        await library.upload(f"{words} {number}".encode(), other_context, filename="note.txt")
    outcomes = await library.through(10_000)
    assert {kind for kind, _ in outcomes} == {"document.ingested"}
    for text, expected in before.items():
        found = (await library.ask(text, Method.KEYWORD, limit=100)).data
        assert [(r.chunk_id, r.retrieval_score) for r in found] == [(r.chunk_id, r.retrieval_score) for r in expected]


async def test_a_result_says_under_which_headings_it_stands(library: Library) -> None:
    guide = "Words before.\n\n# Guide\n\n" + "Begin here. " * 200 + "\n\n## Install\n\n" + "Take the wheel. " * 200
    await library.bring_in(guide, filename="guide.md")
    wheels = {result.heading for result in (await library.ask("wheel", Method.KEYWORD)).data}
    assert "Guide › Install" in wheels
    assert {result.heading for result in (await library.ask("begin", Method.KEYWORD)).data} == {"Guide"}
    assert [result.heading for result in (await library.ask("words", Method.KEYWORD)).data] == [None]
    await library.bring_in("Plain words of a heron.", filename="note.txt")
    assert [result.heading for result in (await library.ask("heron", Method.KEYWORD)).data] == [None]


async def test_a_minimum_score_leaves_the_rest_out(library: Library) -> None:
    await bring_in_all(library)
    best = (await library.ask("owl", Method.KEYWORD)).data[0]
    async with library.lane.transaction(library.context) as tx:
        asked = Query(query="owl", method=Method.KEYWORD, minimum_score=best.retrieval_score)
        answer = await retrieve(tx, QueryVectors(library.knowledge.providers, asked.query), asked)
    assert [result.chunk_id for result in answer.data] == [best.chunk_id]


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER])
async def test_a_row_of_another_workspace_is_thrown_away_and_reported_once(
    library: Library, other_context: Context, monkeypatch: pytest.MonkeyPatch, role: Role
) -> None:
    """The wall lets none through, so the statement is one that tells whose a row is wrongly."""
    await bring_in_all(library)

    class Leaking:
        def __getattr__(self, name: str) -> object:
            return getattr(queries, name)

        async def read_chunks(self, *args: object, **said: object) -> list[dict[str, object]]:
            first, *others = [dict(row) for row in await queries.read_chunks(*args, **said)]
            return [first | {"workspace_id": other_context.workspace_id}, *others]

    queries = service._queries
    asked, whole = Query(query=QUESTIONS[0]), await library.ask(QUESTIONS[0], Method.HYBRID)
    monkeypatch.setattr(service, "_queries", Leaking())
    told = await answer(library.lane.transaction, library.acting(role), library.knowledge.providers, asked)
    assert len(told.data) == len(whole.data) - 1
    assert {result.workspace_id for result in told.data} == {library.context.workspace_id}
    told_of = await library.fetch("SELECT payload FROM datalane.events WHERE event_type = 'security.anomaly'")
    assert [row["payload"]["kind"] for row in told_of] == ["foreign_rows_in_a_result"]
