"""The agent that needs no model: it does what a fixed grammar asks for, and answers all else by extraction."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from datalane.agents.assistant.answering import CREATE, NOTHING_FOUND, Draft, Said, search
from datalane.agents.assistant.extraction import extract
from datalane.agents.assistant.wishes import Wish, read_wish
from datalane.agents.recorder import RecordedRun

PROVIDER: Final = "datalane"
MODEL: Final = "extraction"
REVISION: Final = "1"


async def draft_by_extraction(run: RecordedRun, question: str, model_version_id: UUID) -> Draft:
    """Its words count as tokens, so that it can be priced and bounded like a model."""
    wish = read_wish(question)
    if wish is not None:
        return await _fulfil(run, wish)
    chunks = await search(run, question)
    read = _count(question) + sum(_count(chunk["text"]) for chunk in chunks)
    async with run.step("model", "extract", model_version_id=model_version_id, expects_tokens=read) as step:
        found = extract(question, chunks)
        step.output = [one.text for one in found]
        step.count(input_tokens=read, output_tokens=sum(_count(one.text) for one in found))
    return Draft([Said(one.text, one) for one in found], NOTHING_FOUND, model=f"{PROVIDER}/{MODEL}/{REVISION}")


async def _fulfil(run: RecordedRun, wish: Wish) -> Draft:
    arguments = {"title": wish.title, **({"description": wish.description} if wish.description else {})}
    made = await run.call(CREATE, arguments, idempotency_key=f"{run.run_id}:item")
    return Draft(text=f"Made the item “{made['title']}”.", item_ids=[UUID(made["item_id"])])


def _count(text: str) -> int:
    return len(text.split())
