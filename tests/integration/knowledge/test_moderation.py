"""Citations that are suppressed by the outcome of a moderation, and restored."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from tests.integration.knowledge.library import Library

from datalane.contracts.context import Context, Role
from datalane.errors import Conflict, Forbidden, NotFound
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7
from datalane.knowledge.evidence.schemas import Trace
from datalane.knowledge.evidence.service import trace
from datalane.knowledge.methods import Method
from datalane.knowledge.moderation.schemas import Moderation, NewRestoration, NewSuppression, Outcome
from datalane.knowledge.moderation.service import list_moderations, restore, suppress
from datalane.knowledge.moderation.suppressing import CitationSuppressor
from datalane.knowledge.responses.schemas import Citation, NewCitation, NewResponse, NewSegment, Response
from datalane.knowledge.responses.service import create_response, list_citations


async def answer(library: Library) -> Response:
    """Two segments, each with a citation."""
    await library.bring_in("# Birds\n\nOwls hunt at night.", filename="birds.md")
    chunk_id = (await library.ask("owls", Method.KEYWORD)).data[0].chunk_id
    cited = [NewCitation(chunk_id=chunk_id, confidence_score=0.9)]
    said = NewResponse(segments=[NewSegment(text=text, citations=cited) for text in ("Owls hunt.", "At night.")])
    async with library.lane.transaction(library.context) as tx:
        return await create_response(tx, said)


async def hide(
    library: Library, citation_id: UUID, context: Context | None = None, reference: str | None = None
) -> Moderation:
    new = NewSuppression(citation_id=citation_id, category="privacy", reason="names a person", reference=reference)
    async with library.lane.transaction(context or library.context) as tx:
        return await suppress(tx, new)


async def show(library: Library, citation_id: UUID) -> Moderation:
    async with library.lane.transaction(library.context) as tx:
        return await restore(tx, NewRestoration(citation_id=citation_id, reason="it does not"))


async def read(library: Library, citation_id: UUID) -> Citation:
    async with library.lane.transaction(library.context) as tx:
        [citation] = await list_citations(tx, None, citation_id)
    return citation


async def traced(library: Library, response: Response) -> Trace:
    async with library.lane.transaction(library.context) as tx:
        return await trace(tx, response.response_id)


async def test_a_suppressed_citation_shows_no_quote_and_says_by_which_outcome(library: Library) -> None:
    first, second = (await answer(library)).citations
    decided = await hide(library, first.citation_id, reference="outcome-7")
    hidden = await read(library, first.citation_id)
    assert (hidden.suppressed, hidden.quote, hidden.heading, hidden.verified) == (True, None, None, True)
    assert hidden.moderation == decided
    assert (decided.outcome, decided.category, decided.reference) == (Outcome.SUPPRESSED, "privacy", "outcome-7")
    assert await read(library, second.citation_id) == second
    restored = await show(library, first.citation_id)
    shown = await read(library, first.citation_id)
    assert (shown.suppressed, shown.quote, shown.heading, shown.moderation) == (False, first.quote, "Birds", restored)


async def test_two_who_suppress_the_same_citations_at_once_decide_each_once(library: Library) -> None:
    ids = [each.citation_id for each in (await answer(library)).citations]
    suppressor = CitationSuppressor()

    async def work(citation_ids: list[UUID], reference: str) -> None:
        async with library.lane.transaction(library.context) as tx:
            assert await suppressor.known(tx, [uuid7(), *citation_ids, citation_ids[0]]) == citation_ids
            await suppressor.suppress(tx, citation_ids, "wrong", None, reference)

    await asyncio.gather(*(work(ids[::turn], f"moderation {turn}") for turn in (1, -1) * 3))
    async with library.lane.transaction(library.context) as tx:
        decided = (await list_moderations(tx)).data
    assert sorted(each.citation_id for each in decided) == sorted(ids)
    assert len({each.reference for each in decided}) == 1, "whoever was first has decided about both"


async def test_evidence_that_is_suppressed_is_none(library: Library) -> None:
    response = await answer(library)
    first, second = response.citations
    assert (await traced(library, response)).fallback is None
    await hide(library, first.citation_id)
    found = await traced(library, response)
    assert (found.fallback, found.verified) == ("suppressed_evidence", True)
    [hidden], [shown] = (segment.citations for segment in found.segments)
    assert (hidden.citation.quote, hidden.quote_sha256, hidden.heading) == (None, None, None)
    assert (shown.citation.quote, shown.quote_sha256 is None) == (second.quote, False)
    await hide(library, second.citation_id)
    assert not (await traced(library, response)).verified, "nothing is left that proves it"
    for citation in response.citations:
        await show(library, citation.citation_id)
    found = await traced(library, response)
    assert (found.fallback, found.verified) == (None, True)


async def test_what_was_decided_is_listed_audited_and_counted(library: Library) -> None:
    def counted(outcome: str) -> float:
        return REGISTRY.get_sample_value("datalane_citations_moderated_total", {"outcome": outcome}) or 0

    before = counted("suppressed"), counted("restored")
    [citation, _] = (await answer(library)).citations
    made = [await hide(library, citation.citation_id), await show(library, citation.citation_id)]
    async with library.lane.transaction(library.context) as tx:
        assert (await list_moderations(tx)).data == made[::-1]
    audited = await library.fetch("SELECT action FROM datalane.audit_log WHERE resource_type = 'citation' ORDER BY 1")
    assert [row["action"] for row in audited] == ["citation.restored", "citation.suppressed"]
    assert (counted("suppressed"), counted("restored")) == (before[0] + 1, before[1] + 1)


async def test_what_is_so_already_is_a_conflict(library: Library) -> None:
    [citation, _] = (await answer(library)).citations
    with pytest.raises(Conflict, match="not suppressed"):
        await show(library, citation.citation_id)
    await hide(library, citation.citation_id)
    with pytest.raises(Conflict, match="is suppressed"):
        await hide(library, citation.citation_id)


async def test_of_decisions_at_once_one_is_made_and_the_others_are_told(library: Library) -> None:
    [citation, _] = (await answer(library)).citations
    made = await asyncio.gather(*(hide(library, citation.citation_id) for _ in range(8)), return_exceptions=True)
    assert sorted(type(one).__name__ for one in made) == [*["Conflict"] * 7, "Moderation"]
    audited = await library.fetch("SELECT action FROM datalane.audit_log WHERE resource_type = 'citation'")
    assert len(audited) == 1


async def test_the_last_decision_counts_whatever_the_clocks_say(library: Library) -> None:
    [citation, _] = (await answer(library)).citations
    later = utc_now() + timedelta(days=1)
    for _ in range(5):
        async with library.lane.transaction(library.context) as tx:
            await suppress(tx, NewSuppression(citation_id=citation.citation_id, category="privacy"), later)
            await restore(tx, NewRestoration(citation_id=citation.citation_id))
            await suppress(tx, NewSuppression(citation_id=citation.citation_id, category="privacy"))
        assert (await read(library, citation.citation_id)).suppressed
        await show(library, citation.citation_id)
        assert not (await read(library, citation.citation_id)).suppressed


async def test_a_citation_of_another_workspace_is_not_there(library: Library, other_context: Context) -> None:
    [citation, _] = (await answer(library)).citations
    owner = replace(other_context, role=Role.OWNER)
    for citation_id, context in ((citation.citation_id, owner), (uuid7(), library.context)):
        with pytest.raises(NotFound, match="no such citation"):
            await hide(library, citation_id, context)
    assert not (await read(library, citation.citation_id)).suppressed


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER])
async def test_only_admins_decide(library: Library, role: Role) -> None:
    [citation, _] = (await answer(library)).citations
    with pytest.raises(Forbidden):
        await hide(library, citation.citation_id, library.acting(role))
    assert not (await read(library, citation.citation_id)).suppressed
