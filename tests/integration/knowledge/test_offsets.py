"""Offsets are held to the text when they are written: the child that drew the chunks is not believed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.knowledge.library import Library, library_with_children

from datalane.db.provision import Prepared
from datalane.knowledge.indexing import IndexChunks, index_chunks
from datalane.knowledge.methods import Method
from datalane.knowledge.parsing.errors import WrongOffsets

HONEST, LIE = "Kräuter und Salz.", "Lieber Kräuter und Äpfel."


@pytest.fixture
async def lied_to(urls: Prepared, tmp_path: Path) -> AsyncIterator[Library]:
    """Its extraction child lies. No worker runs."""
    setup = "tests.integration.knowledge.lying_chunker:register"
    async with library_with_children(urls, tmp_path, setup) as opened:
        yield opened


async def test_a_document_whose_bytes_are_shifted_by_its_child_is_refused_and_no_other(lied_to: Library) -> None:
    library = lied_to
    honest = await library.upload(HONEST.encode(), filename="a.txt")
    lie = await library.upload(LIE.encode(), filename="b.txt")
    async with library.working():
        outcomes = set(await library.through(2))
    assert outcomes == {("document.ingested", str(honest.document_id)), ("document.failed", str(lie.document_id))}
    refused = await library.document(lie.document_id)
    assert (refused.ingestion.status, refused.ingestion.error_class) == ("failed", "wrong_offsets")
    assert (refused.ingestion.attempt_count, refused.chunks, refused.current_version_id) == (1, 0, None)
    assert [found.document_id for found in (await library.ask("Kräuter", Method.KEYWORD)).data] == [honest.document_id]


async def test_a_text_that_is_indexed_directly_is_held_to_its_offsets_too(lied_to: Library) -> None:
    prepared = await lied_to.prepare(IndexChunks(text=LIE))
    with pytest.raises(WrongOffsets, match="do not lie where their offsets say"):
        async with lied_to.lane.transaction(lied_to.context) as tx:
            await index_chunks(tx, prepared)
    assert set((await lied_to.counts()).values()) == {0}
