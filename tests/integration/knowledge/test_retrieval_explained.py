"""Why a chunk was found: matched terms, highlights, surroundings, and the weight of the methods."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from tests.integration.knowledge.library import Library

from datalane.contracts.context import Context
from datalane.knowledge.methods import Method
from datalane.knowledge.retrieval.schemas import Query, Result

LONG = "\n\n".join(f"Paragraph {number} of the ship's log. " + "The sea is calm. " * 40 for number in range(12))


async def canonical(library: Library, result: Result) -> str:
    [row] = await library.fetch(
        "SELECT canonical_text FROM datalane.document_versions WHERE version_id = $1", result.version_id
    )
    return str(row["canonical_text"])


async def test_results_say_which_terms_matched(library: Library) -> None:
    await library.bring_in("Owls were hunting; the harbour is quiet.", title="Nights at sea")
    asked = "The owl hunts by night in the desert"
    [found] = (await library.ask(asked, Method.KEYWORD)).data
    assert found.matched_terms == ["hunt", "night", "owl"], "stems, of the title as well"
    [found] = (await library.ask("desert", Method.HYBRID)).data
    assert found.matched_terms == []
    [found] = (await library.ask(asked, Method.SEMANTIC)).data
    assert found.matched_terms is None


async def test_highlights_are_places_of_the_words_that_match(library: Library) -> None:
    text = "\U0001f989 Owls hunt, e\u0301t\u00e9 3.5 km off. An OWL's owlish hunting-ground: version 3.5, <b>owl</b>."
    await library.bring_in(text)
    [found] = (await library.ask("the owl hunting 3.5", Method.HYBRID, highlight=True)).data
    whole = await canonical(library, found)
    assert found.highlights is not None
    marked = [whole[place.start_offset : place.end_offset] for place in found.highlights]
    assert marked == ["Owls", "hunt", "3.5", "OWL", "hunting", "3.5", "owl"]


async def test_highlights_are_counted_in_the_document_and_not_in_the_chunk(library: Library) -> None:
    await library.bring_in(LONG + "\n\nHere be dragons.")
    best = (await library.ask("dragons", Method.KEYWORD, highlight=True)).data[0]
    assert best.chunk_start_offset > 0
    assert best.highlights is not None
    [place] = best.highlights
    assert (await canonical(library, best))[place.start_offset : place.end_offset] == "dragons"


async def test_a_long_query_over_many_words_is_highlighted_as_well(library: Library) -> None:
    words = [f"w{number}x" for number in range(12_000)]
    await library.bring_in("\n\n".join(" ".join(words[start : start + 200]) for start in range(0, len(words), 200)))
    results = (await library.ask(" ".join(words[:1_000]), Method.HYBRID, limit=100, highlight=True)).data
    assert sum(len(result.highlights or []) for result in results) == 1_000


async def test_what_is_not_asked_for_is_absent(library: Library) -> None:
    await library.bring_in("The owl hunts at night.")
    [found] = (await library.ask("owl", Method.HYBRID)).data
    assert (found.highlights, found.surroundings) == (None, None)


@pytest.mark.parametrize("steps", [1, 2, 5])
async def test_surroundings_are_one_piece_of_the_text(library: Library, steps: int) -> None:
    await library.bring_in(LONG)
    chunks = await library.fetch(
        "SELECT chunk_id, ordinal, start_offset, end_offset FROM datalane.chunks ORDER BY ordinal"
    )
    assert len(chunks) > 3
    ordinal = {row["chunk_id"]: row["ordinal"] for row in chunks}
    for result in (await library.ask("sea log paragraph", Method.KEYWORD, limit=100, neighbours=steps)).data:
        place, around = ordinal[result.chunk_id], result.surroundings
        assert around is not None
        first, last = chunks[max(0, place - steps)], chunks[min(len(chunks) - 1, place + steps)]
        assert (around.start_offset, around.end_offset) == (first["start_offset"], last["end_offset"])
        assert around.text == (await canonical(library, result))[around.start_offset : around.end_offset]
        assert result.text in around.text


async def test_surroundings_end_with_the_document(library: Library, other_context: Context) -> None:
    await library.bring_in("The owl hunts at night.")
    await library.bring_in("The owl sleeps by day.", filename="other.txt")
    await library.bring_in("The owl of another workspace.", other_context)
    for result in (await library.ask("owl", Method.KEYWORD, neighbours=5)).data:
        assert result.surroundings is not None
        assert result.surroundings.text == result.text


async def test_the_weight_leads_from_one_method_to_the_other(library: Library) -> None:
    for number, text in enumerate(("An owl.", "Owls and owls and owls.", "A bird of the night.", "Harbour lights.")):
        await library.bring_in(text, filename=f"{number}.txt")
    orders = {
        method: [result.chunk_id for result in (await library.ask("owl", method)).data]
        for method in (Method.KEYWORD, Method.SEMANTIC)
    }
    hybrid = [result.chunk_id for result in (await library.ask("owl", Method.HYBRID, keyword_weight=0)).data]
    assert hybrid == orders[Method.SEMANTIC]
    hybrid = [result.chunk_id for result in (await library.ask("owl", Method.HYBRID, keyword_weight=1)).data]
    assert hybrid[: len(orders[Method.KEYWORD])] == orders[Method.KEYWORD]


@pytest.mark.parametrize(
    "wrong", [{"keyword_weight": 1.1}, {"keyword_weight": -0.1}, {"neighbours": 6}, {"neighbours": -1}]
)
def test_weights_and_neighbours_have_bounds(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Query.model_validate({"query": "owl", **wrong})
