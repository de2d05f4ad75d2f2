"""What an answer is made of, whoever found the words: sentences, their evidence, and what was done."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from datalane.agents.assistant.extraction import Evidence
from datalane.agents.assistant.schemas import AnsweredSentence, AssistantAnswer, SentenceCitation
from datalane.agents.recorder import RecordedRun

SEARCH, CREATE, CITE = "knowledge.search", "item.create", "knowledge.cite"
NOTHING_FOUND = "Nothing in the documents of the workspace answers this."


@dataclass(frozen=True, slots=True)
class Said:
    text: str
    evidence: Evidence | None


@dataclass(slots=True)
class Draft:
    """An answer before it is stored. `text` is what is said where there are no sentences to cite."""

    sentences: list[Said] = field(default_factory=list)
    text: str = ""
    item_ids: list[UUID] = field(default_factory=list)
    model: str | None = None


async def search(run: RecordedRun, query: str) -> list[Mapping[str, Any]]:
    """Chunks of the workspace's documents, the best first."""
    found: Mapping[str, Any] = await run.call(SEARCH, {"query": query})
    return list(found["chunks"])


async def store(run: RecordedRun, question: str, draft: Draft) -> AssistantAnswer:
    """Store what was said with its evidence, and make it the output of the run. Moderation judges the words before they
    are stored, and the output once more, which names their citations."""
    stored: Mapping[str, Any] = {"response_id": None, "citations": []}
    if draft.sentences:
        await run.check_output({"text": " ".join(said.text for said in draft.sentences)})
        arguments = {
            "question": question,
            "sentences": [{"text": said.text, "citations": _citations(said.evidence)} for said in draft.sentences],
            **({"answer_model_version": draft.model[:200]} if draft.model else {}),
        }
        # The same answer is stored once, however often the run is taken up; another one is another.
        digest = hashlib.sha256(orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS)).hexdigest()
        stored = await run.call(CITE, arguments, idempotency_key=f"{run.run_id}:{digest[:32]}")
    answer = AssistantAnswer(
        run_id=run.run_id,
        status="completed",
        text=" ".join(said.text for said in draft.sentences) or draft.text,
        sentences=_sentences(draft.sentences, stored["citations"]),
        response_id=stored["response_id"],
        item_ids=draft.item_ids,
    )
    run.output = {
        "text": answer.text,
        "sentences": [
            {"text": each.text, "citation_ids": [str(one.citation_id) for one in each.citations]}
            for each in answer.sentences
        ],
        "response_id": stored["response_id"],
        "item_ids": [str(each) for each in draft.item_ids],
    }
    return answer


def _sentences(said: Sequence[Said], citations: Sequence[Mapping[str, Any]]) -> list[AnsweredSentence]:
    by_place: dict[int, list[SentenceCitation]] = {}
    for each in citations:
        by_place.setdefault(each["sentence"], []).append(SentenceCitation(**each))
    return [AnsweredSentence(text=one.text, citations=by_place.get(place, [])) for place, one in enumerate(said)]


def _citations(evidence: Evidence | None) -> list[dict[str, Any]]:
    if evidence is None:
        return []
    chunk = evidence.chunk
    return [
        {
            "chunk_id": chunk["chunk_id"],
            "quote_start_offset": evidence.start,
            "quote_end_offset": evidence.end,
            "confidence_score": chunk["confidence"],
            "calibration_id": chunk["calibration_id"],
            "retrieval_method": chunk["retrieval_method"],
            "embedding_model_version": chunk["embedding_model_version"],
        }
    ]
