"""Confidences: learned from a run, told with results, and cited."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from tests.integration.knowledge.library import Library
from tests.integration.knowledge.runs import a_run, judged_results

from datalane.contracts.context import Context, Role
from datalane.errors import Forbidden, InvalidInput, NotFound
from datalane.kit.ids import uuid7
from datalane.knowledge.confidence.bands import band_of
from datalane.knowledge.confidence.calibrating import Judged
from datalane.knowledge.confidence.curve import Curve
from datalane.knowledge.confidence.schemas import Calibration
from datalane.knowledge.confidence.service import calibrate, list_calibrations
from datalane.knowledge.evaluation.service import record_run
from datalane.knowledge.evidence.service import trace
from datalane.knowledge.methods import Method
from datalane.knowledge.responses.schemas import NewCitation, NewResponse, NewSegment, Response
from datalane.knowledge.responses.service import create_response
from datalane.knowledge.retrieval.schemas import DocumentFilters


async def learn(
    library: Library, method: Method, judged: list[Judged], context: Context | None = None, model: str | None = None
) -> Calibration:
    """A run by `method`, at the usual weight and model, and what is learned of it."""
    versions = {"embedding_model": model or library.knowledge.providers.usual}
    weight = 0.7 if method is Method.HYBRID else None
    async with library.lane.transaction(context or library.context) as tx:
        run = await record_run(tx, a_run({"q": 1.0}, method=method, keyword_weight=weight, versions=versions))
        return await calibrate(tx, run.run_id, judged)


async def cite(library: Library, chunk_id: UUID, confidence: float, calibration_id: UUID | None = None) -> Response:
    cited = NewCitation(chunk_id=chunk_id, confidence_score=confidence, calibration_id=calibration_id)
    async with library.lane.transaction(library.context) as tx:
        return await create_response(tx, NewResponse(segments=[NewSegment(text="Owls.", citations=[cited])]))


@pytest.mark.parametrize("method", list(Method))
async def test_results_tell_the_confidence_of_their_score(library: Library, method: Method) -> None:
    await library.bring_in("Owls hunt at night over the reeds.")
    before = await library.ask("owls at night", method)
    assert (before.calibration_id, before.data[0].confidence, before.data[0].confidence_band) == (None, None, None)
    score = before.data[0].retrieval_score
    judged = [Judged(f"q{n}", score + step, step >= 0) for n in range(40) for step in range(-5, 5)]
    learned = await learn(library, method, judged)
    after = await library.ask("owls at night", method)
    assert after.calibration_id == learned.calibration_id
    [result] = after.data
    assert result.confidence == pytest.approx(Curve(learned.scores, learned.confidences).of(score))
    assert result.confidence_band is band_of(result.confidence or 0)
    assert result.retrieval_score == score, "a confidence moves no score"


async def test_what_was_learned_holds_for_its_method_its_weight_and_its_model(library: Library) -> None:
    await library.bring_in("Owls hunt at night.")
    learned = await learn(library, Method.HYBRID, judged_results())
    await learn(library, Method.SEMANTIC, judged_results(), model="another/1")
    assert (await library.ask("owls", Method.HYBRID)).calibration_id == learned.calibration_id
    assert (await library.ask("owls", Method.HYBRID, keyword_weight=0.3)).calibration_id is None
    assert (await library.ask("owls", Method.KEYWORD)).calibration_id is None
    assert (await library.ask("owls", Method.SEMANTIC)).calibration_id is None
    newer = await learn(library, Method.HYBRID, judged_results(50))
    assert (await library.ask("owls", Method.HYBRID)).calibration_id == newer.calibration_id


async def test_a_hybrid_score_among_some_documents_has_no_confidence(library: Library) -> None:
    """It is relative to what the filters left: the best of them is always 1."""
    document = await library.bring_in("Owls hunt at night.")
    for method in Method:
        await learn(library, method, judged_results())
    some = DocumentFilters(document_ids=[document.document_id])
    told = {method: (await library.ask("owls", method, filters=some)).data[0].confidence for method in Method}
    assert [method for method, confidence in told.items() if confidence is None] == [Method.HYBRID]


async def test_a_run_by_words_is_learned_from_whatever_the_models_were(library: Library) -> None:
    learned = await learn(library, Method.KEYWORD, judged_results(), model="one/1, other/1")
    assert learned.embedding_model_version is None


async def test_a_number_that_the_calibration_never_tells_is_not_cited_by_it(library: Library) -> None:
    await library.bring_in("Owls hunt at night.")
    learned = await learn(library, Method.KEYWORD, judged_results())
    [result] = (await library.ask("owls", Method.KEYWORD)).data
    for score in (learned.confidences[0] - 0.001, learned.confidences[-1] + 0.001):
        with pytest.raises(InvalidInput, match=r"segments\[0\].citations\[0\].confidence_score: the calibration tells"):
            await cite(library, result.chunk_id, score, learned.calibration_id)
    assert await library.count("responses") == 0


async def test_nothing_is_kept_of_too_little_or_of_a_run_with_two_models(library: Library) -> None:
    for judged, model in ((judged_results(3), None), (judged_results(), "one/1, other/1")):
        with pytest.raises(InvalidInput, match=r"too few|the model was changed"):
            await learn(library, Method.SEMANTIC, judged, model=model)
    async with library.lane.transaction(library.context) as tx:
        with pytest.raises(NotFound, match="no such run"):
            await calibrate(tx, uuid7(), judged_results())
        assert (await list_calibrations(tx)).data == []


async def test_citations_are_counted_by_their_band_and_who_gave_it(library: Library) -> None:
    await library.bring_in("Owls hunt at night.")
    [result] = (await library.ask("owls", Method.KEYWORD)).data

    def counted(band: str) -> float:
        return REGISTRY.get_sample_value("datalane_citations_total", {"band": band, "source": "caller"}) or 0

    before = counted("low"), counted("high")
    for confidence in (0.1, 0.2, 0.9):
        await cite(library, result.chunk_id, confidence)
    assert (counted("low"), counted("high")) == (before[0] + 2, before[1] + 1)


async def test_a_citation_says_by_which_calibration_it_has_its_confidence(library: Library) -> None:
    await library.bring_in("Owls hunt at night.")
    learned = await learn(library, Method.KEYWORD, judged_results())
    found = await library.ask("owls", Method.KEYWORD)
    [result] = found.data
    assert result.confidence is not None
    response = await cite(library, result.chunk_id, result.confidence, found.calibration_id)
    [citation] = response.citations
    assert (citation.calibration_id, citation.confidence_band) == (learned.calibration_id, result.confidence_band)
    async with library.lane.transaction(library.context) as tx:
        assert (await trace(tx, citation.citation_id)).calibrations == [learned]


async def test_a_calibration_of_another_workspace_is_not_there(library: Library, other_context: Context) -> None:
    await library.bring_in("Owls hunt at night.")
    owner = replace(other_context, role=Role.OWNER)
    foreign = await learn(library, Method.KEYWORD, judged_results(), owner)
    found = await library.ask("owls", Method.KEYWORD)
    assert found.calibration_id is None
    for calibration_id in (foreign.calibration_id, uuid7()):
        with pytest.raises(NotFound, match="no such calibration"):
            await cite(library, found.data[0].chunk_id, 0.5, calibration_id)
    assert await library.count("responses") == 0


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER])
async def test_what_everybody_is_told_is_learned_by_admins(library: Library, role: Role) -> None:
    async with library.lane.transaction(library.context) as tx:
        run = await record_run(tx, a_run({"q": 1.0}))
    async with library.lane.transaction(library.acting(role)) as tx:
        with pytest.raises(Forbidden):
            await calibrate(tx, run.run_id, judged_results())
