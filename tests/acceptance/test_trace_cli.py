"""`datalane trace` and `datalane eval judgements` as a user runs them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from tests.conftest import a_context

from datalane.contracts.context import Context, Role
from datalane.db.access import Prepared
from datalane.kit.ids import uuid7
from datalane.knowledge.feedback.schemas import NewFeedback
from datalane.knowledge.feedback.service import give_feedback
from datalane.knowledge.indexing import IndexChunks, index_chunks, prepare
from datalane.knowledge.responses.schemas import NewCitation, NewResponse, NewSegment
from datalane.knowledge.responses.service import create_response
from datalane.knowledge.runtime import open_knowledge
from datalane.lane import Lane
from datalane.settings import Settings


@dataclass(frozen=True)
class Answered:
    """`feedback_id` is on the citation, `on_chunk_id` on its chunk."""

    context: Context
    feedback_id: UUID
    on_chunk_id: UUID


@pytest.fixture
def run(
    urls: Prepared, home: Path, datalane: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """`run("trace", …)` on this test's lane."""
    monkeypatch.setenv("DATALANE_HOME", str(home))
    for name, value in urls.as_environment().items():
        monkeypatch.setenv(name, value)
    return lambda *arguments: datalane(*map(str, arguments))


@pytest.fixture
def answered(urls: Prepared, home: Path) -> Answered:
    """An answer with a citation that somebody dislikes."""
    return asyncio.run(_answer(Settings(home=home), urls.database_url, a_context(role=Role.OWNER)))


async def _answer(settings: Settings, url: str, context: Context) -> Answered:
    lane = Lane()
    async with open_knowledge(settings) as knowledge, lane.open(settings, url):
        text = IndexChunks(text="The heron [grey] stands.", source_uri="demo:heron", source_title="Herons")
        usual = frozenset({knowledge.providers.usual})
        prepared = await prepare(knowledge, context.workspace_id, text, settings.limits, usual)
        async with lane.transaction(context) as tx:
            await index_chunks(tx, prepared)
            chunk_id = await tx.fetchval("SELECT chunk_id FROM datalane.chunks")
            cited = NewCitation(chunk_id=chunk_id, confidence_score=0.9)
            segment = NewSegment(text="It stands.", citations=[cited])
            new = NewResponse(question="What does it do?", segments=[segment], answer_model_version="writer\x1b[31m/3")
            response = await create_response(tx, new)
            await give_feedback(tx, NewFeedback(response_id=response.response_id, rating="up"))
            down = NewFeedback(
                citation_id=response.citations[0].citation_id, rating="down", comment="It [/flies] \x1b[31mnow."
            )
            on_chunk = NewFeedback(chunk_id=chunk_id, rating="down", comment="[/bird]")
            given = [(await give_feedback(tx, one)).feedback_id for one in (down, on_chunk)]
            return Answered(context, *given)


def test_a_thumbs_down_leads_to_the_bytes(run: Callable[..., Any], answered: Answered) -> None:
    workspace = ("--workspace", answered.context.workspace_id)
    said = run("trace", answered.feedback_id, *workspace)
    assert said.status == 0, said.err
    for part in (
        "What does it do?",
        "thumbs down",
        "It [/flies] \ufffd[31mnow.",
        "The heron [grey] stands.",
        "verified",
        "Herons",
    ):
        assert part in said.out
    as_json = run("trace", answered.feedback_id, *workspace, "--json").json
    [citation] = as_json["segments"][0]["citations"]
    assert (citation["quote_start_byte"], citation["quote_end_byte"]) == (0, 24)
    assert as_json["verified"] is True


def test_a_thumbs_down_on_a_chunk_leads_to_its_bytes(run: Callable[..., Any], answered: Answered) -> None:
    workspace = ("--workspace", answered.context.workspace_id)
    said = run("trace", answered.on_chunk_id, *workspace)
    assert said.status == 0, said.err
    for part in (
        "thumbs down on the chunk",
        "[/bird]",
        "The heron [grey] stands.",
        "verified",
        "characters 0 to 24, bytes 0 to 24",
        "Herons: document",
        "embedded by",
    ):
        assert part in said.out
    as_json = run("trace", answered.on_chunk_id, *workspace, "--json").json
    assert (as_json["response_id"], as_json["chunk"]["text"]) == (None, "The heron [grey] stands.")


def test_what_cannot_be_traced_is_said(run: Callable[..., Any], answered: Answered) -> None:
    workspace = ("--workspace", answered.context.workspace_id)
    for traced, where, says in [
        (uuid7(), workspace, "no such response, citation or feedback"),
        (answered.feedback_id, ("--workspace", uuid7()), "no such response, citation or feedback"),
        ("x", workspace, "is not a response, citation or feedback id"),
    ]:
        done = run("trace", traced, *where)
        assert (done.status, says in done.err) == (2, True), done.err


def test_thumbs_become_a_dataset_that_can_be_asked(run: Callable[..., Any], answered: Answered, tmp_path: Path) -> None:
    workspace, out = ("--workspace", answered.context.workspace_id), tmp_path / "judged"
    written = run("eval", "judgements", *workspace, "--out", out, "--json")
    assert written.status == 0, written.err
    answers = [{"answer_model_version": "writer\x1b[31m/3", "up": 1, "down": 0}]
    assert written.json == {"queries": 1, "judgements": 1, "answers": answers}
    shown = run("eval", "judgements", *workspace, "--out", tmp_path / "shown")
    assert "answers of writer\ufffd[31m/3: 1 up, 0 down" in shown.out
    assert json.loads((out / "queries.jsonl").read_text())["text"] == "What does it do?"
    assert (out / "qrels.tsv").read_text() == "feedback-1\tdemo:heron\t0\n"
    again = run("eval", "judgements", *workspace, "--out", out)
    assert (again.status, "is not empty" in again.err) == (2, True)
    (out / "qrels.tsv").write_text("feedback-1\tdemo:heron\t1\n")
    asked = run("eval", "retrieval", "--dataset", out, *workspace, "--method", "semantic", "--json")
    assert asked.status == 0, asked.err
    assert asked.json["answers"] == answers
    shown = run("eval", "retrieval", "--dataset", out, *workspace, "--method", "semantic")
    assert "answers of writer\ufffd[31m/3: 1 up, 0 down" in shown.out
    measures = asked.json["runs"][0]["run"]["measures"]
    assert measures["RR@10"]["value"] == 1, "documents go by their source_uri as it is"


def test_without_feedback_there_is_nothing_to_write(run: Callable[..., Any], tmp_path: Path) -> None:
    done = run("eval", "judgements", "--workspace", uuid7(), "--out", tmp_path / "none")
    assert (done.status, (tmp_path / "none").exists()) == (2, False)
    assert "no feedback on chunks or citations" in done.err
