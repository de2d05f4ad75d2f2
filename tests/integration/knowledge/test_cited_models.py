"""Which embedding model a citation says that it stands on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import a_context
from tests.integration.engine.lab import eventually
from tests.integration.knowledge.endpoints import DIMENSIONS, running_endpoint
from tests.integration.knowledge.library import Library

from datalane.contracts.context import Context, Role
from datalane.db.provision import Prepared
from datalane.errors import InvalidInput
from datalane.knowledge.methods import Method
from datalane.knowledge.models import service
from datalane.knowledge.models.schemas import ModelTarget
from datalane.knowledge.responses.schemas import NewCitation, NewResponse, NewSegment
from datalane.knowledge.responses.service import create_response
from datalane.knowledge.retrieval.schemas import Result
from datalane.knowledge.runtime import open_knowledge
from datalane.lane import Lane
from datalane.settings import EmbeddingSettings, Settings

NEAR = f"near:bags/{DIMENSIONS}-1"
TEXT = "An owl near the harbour at night."


@pytest.fixture
async def library(urls: Prepared, tmp_path: Path) -> AsyncIterator[Library]:
    """A lane that has a second model, and a worker."""
    with running_endpoint() as endpoint:
        settings = Settings(home=tmp_path, embeddings=EmbeddingSettings(endpoints=(endpoint.settings(),)))
        lane = Lane()
        async with lane.open(settings, urls.database_url), open_knowledge(settings) as knowledge:
            knowledge.register(lane.handlers, lane.database)
            library = Library(lane, knowledge, a_context(role=Role.OWNER))
            async with library.working():
                yield library


async def change_over(library: Library) -> None:
    """To the second model."""
    target, providers = ModelTarget(model_version=NEAR), library.knowledge.providers
    async with library.lane.transaction(library.context) as tx:
        await service.register_model(tx, providers, target)

    async def filled() -> bool:
        async with library.lane.transaction(library.context) as tx:
            listed = await service.list_models(tx, providers)
        return any((model.model_version, model.status) == (NEAR, "ready") for model in listed.data)

    await eventually(filled)
    async with library.lane.transaction(library.context) as tx:
        await service.activate_model(tx, providers, target)


async def found(library: Library, method: Method) -> Result:
    return (await library.ask("owl", method)).data[0]


async def cited(library: Library, result: Result, context: Context | None = None, **said: Any) -> str | None:
    """The model of a citation of the result."""
    citation = NewCitation(chunk_id=result.chunk_id, confidence_score=0.9, **said)
    new = NewResponse(segments=[NewSegment(text="An owl.", citations=[citation])])
    async with library.lane.transaction(context or library.context) as tx:
        [stored] = (await create_response(tx, new)).citations
    return stored.embedding_model_version


def as_found(result: Result) -> dict[str, Any]:
    return {
        "retrieval_method": result.retrieval_method,
        "embedding_model_version": result.embedding_model_version,
    }


async def test_a_citation_names_the_model_of_the_result_also_after_a_change_over(library: Library) -> None:
    await library.bring_in(TEXT)
    usual, before = library.knowledge.providers.usual, {one: await found(library, one) for one in Method}
    await change_over(library)
    told = {method: await cited(library, result, **as_found(result)) for method, result in before.items()}
    assert told == {Method.SEMANTIC: usual, Method.HYBRID: usual, Method.KEYWORD: None}
    semantic = before[Method.SEMANTIC]
    assert await cited(library, semantic, embedding_model_version=usual) == usual
    assert await cited(library, semantic) == NEAR, "what is not said is the model of the moment"
    assert await cited(library, semantic, retrieval_method=Method.HYBRID, embedding_model_version=NEAR) == NEAR


async def test_a_model_that_the_workspace_never_had_is_refused_and_nothing_is_kept(library: Library) -> None:
    await library.bring_in(TEXT)
    result = await found(library, Method.SEMANTIC)
    assert await cited(library, result, **as_found(result)) == library.knowledge.providers.usual
    with pytest.raises(InvalidInput, match=r"segments\[0\]\.citations\[0\].*never had the model near:bags"):
        await cited(library, result, embedding_model_version=NEAR)
    assert await library.count("responses") == 1
