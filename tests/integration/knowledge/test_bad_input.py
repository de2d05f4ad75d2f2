"""What cannot be read ends as a failed job with its class, and nothing of it stays half-written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.integration.knowledge.library import Library

from datalane.errors import InvalidInput, LimitExceeded
from datalane.knowledge.documents.originals import store_original
from datalane.knowledge.documents.schemas import NewDocument
from datalane.knowledge.indexing import MOST_CHUNK_CHARACTERS, IndexChunks, Span
from datalane.knowledge.methods import Method
from datalane.settings import Limits

Make = Callable[..., bytes]

CASES: dict[str, tuple[bytes, str]] = {
    "empty_file": (b"", "empty.txt"),
    "empty_text": (b" \n\t \n", "blank.txt"),
    "undecodable_text": ("lone \ud800 surrogate".encode("utf-8", "surrogatepass"), "half.txt"),
    "unsupported_media_type": (b"\x00\x01", "movie.mp4"),
    "media_type_mismatch": (b"%PDF-1.4\n", "really.txt"),
    "broken_pdf": (b"%PDF-1.4\nnothing of what it promises", "broken.pdf"),
    "broken_docx": (b"PK\x03\x04 not an archive", "broken.docx"),
}


async def expect_failure(library: Library, data: bytes, filename: str, error_class: str) -> None:
    document = await library.bring_in(data, filename=filename)
    assert (document.ingestion.status, document.ingestion.error_class) == ("failed", error_class)
    assert document.ingestion.error_message
    assert document.current_version_id is None
    left = {table: count for table, count in (await library.counts()).items() if count}
    assert left == {"documents": 1, "document_versions": 1}
    text = await library.fetch("SELECT canonical_text, indexed_at FROM datalane.document_versions")
    assert [tuple(row) for row in text] == [(None, None)]


@pytest.mark.parametrize("error_class", list(CASES))
async def test_an_unreadable_file_fails_with_its_class(library: Library, error_class: str) -> None:
    data, filename = CASES[error_class]
    await expect_failure(library, data, filename, error_class)


async def test_an_encrypted_pdf_fails_with_its_class(library: Library, make_encrypted_pdf: Make) -> None:
    await expect_failure(library, make_encrypted_pdf("secret", "AES-256"), "guarded.pdf", "encrypted_pdf")


async def test_a_pdf_of_images_fails_with_its_class(library: Library, image_only_pdf: bytes) -> None:
    await expect_failure(library, image_only_pdf, "scan.pdf", "image_only_pdf")


async def test_a_zip_bomb_in_docx_fails_with_its_class(library: Library, replace_part: Make) -> None:
    bomb = replace_part("word/document.xml", b"\0" * (64 * 1024 * 1024))
    await expect_failure(library, bomb, "bomb.docx", "archive_bomb")


async def test_a_bad_file_does_not_hold_up_the_good_ones_beside_it(idle_library: Library) -> None:
    for number in range(5):
        await idle_library.upload(f"Good text number {number}.".encode(), filename=f"{number}.txt")
        await idle_library.upload(b"", filename=f"{number}.txt", source_uri=f"empty:{number}")
    async with idle_library.working():
        outcomes = await idle_library.through(10)
    assert sorted(kind for kind, _ in outcomes) == ["document.failed"] * 5 + ["document.ingested"] * 5
    assert await idle_library.count("search_entries") == 5


async def test_pdf_and_docx_are_read(library: Library, make_pdf: Make, make_docx: Make) -> None:
    await library.bring_in(make_pdf("A page about otters", "A page about badgers"), filename="animals.pdf")
    await library.bring_in(make_docx("A paragraph about lynxes", title="Cats"), filename="cats.docx")
    badgers = (await library.ask("badgers", Method.KEYWORD)).data[0]
    assert "badgers" in badgers.text
    assert badgers.page == 1, "the chunk begins with the page about otters"
    assert (await library.ask("lynxes", Method.KEYWORD)).data[0].source_title == "Cats"


async def test_nul_characters_and_mixed_line_endings_are_made_canonical(library: Library) -> None:
    document = await library.bring_in(b"one\x00\r\ntwo\rthree\nfour")
    rows = await library.fetch("SELECT canonical_text FROM datalane.document_versions")
    assert document.ingestion.status == "completed"
    assert rows[0][0] == "one\ntwo\nthree\nfour"


async def test_a_file_over_the_limit_is_refused_before_anything_is_kept(idle_library: Library) -> None:
    library = idle_library
    limits = Limits(upload=10)
    with pytest.raises(LimitExceeded, match="limit of an upload is 10"):
        await store_original(
            library.knowledge.files, library.context.workspace_id, NewDocument(filename="a.txt"), b"x" * 11, limits
        )
    assert await library.stored_files() == 0
    assert set((await library.counts()).values()) == {0}


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"tags": ["t"] * 51}, LimitExceeded),
        ({"tags": ["t" * 65]}, InvalidInput),
        ({"tags": [""]}, InvalidInput),
        ({"title": "a\x00b"}, InvalidInput),
        ({"metadata": {"deep": [[[[[[[[[[1]]]]]]]]]]}}, LimitExceeded),
        ({"metadata": {"long": "x" * 70_000}}, LimitExceeded),
    ],
)
async def test_wrong_descriptions_are_refused(
    idle_library: Library, said: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await idle_library.upload(b"text", filename="a.txt", **said)
    assert await idle_library.stored_files() == 0


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"text": "   "}, InvalidInput),
        ({"text": "short", "chunks": [Span(start_offset=0, end_offset=6)]}, InvalidInput),
        (
            {"text": "abc", "chunks": [Span(start_offset=1, end_offset=2), Span(start_offset=0, end_offset=1)]},
            InvalidInput,
        ),
        ({"text": "abc", "chunks": [Span(start_offset=2, end_offset=2)]}, InvalidInput),
        (
            {"text": "word " * 8_000, "chunks": [Span(start_offset=0, end_offset=MOST_CHUNK_CHARACTERS + 1)]},
            LimitExceeded,
        ),
    ],
)
async def test_texts_and_borders_that_cannot_be_indexed_are_refused(
    idle_library: Library, request_: dict[str, Any], error: type[Exception]
) -> None:
    library = idle_library
    with pytest.raises(error):
        await library.prepare(IndexChunks(**request_))
    assert await library.stored_files() == 0
