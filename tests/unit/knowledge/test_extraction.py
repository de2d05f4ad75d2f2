"""The pool: a hostile document costs itself, never its neighbours, its process or its parent."""

from __future__ import annotations

import asyncio
import json
import os
import random
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest

from datalane.knowledge.chunking import CHUNKER_VERSION
from datalane.knowledge.embeddings import WordLlamaEmbedder, passage_text
from datalane.knowledge.extraction import Extracted, ExtractionPool, ExtractionUnavailable, Failure, Source
from datalane.knowledge.extraction.types import Bounds

MEBIBYTE = 1024 * 1024


def text_source(text: str, title: str | None = None) -> Source:
    return Source(text.encode(), "note.txt", "text/plain", title)


def hostile(how: str) -> Source:
    return Source(how.encode(), "document.hostile")


def classes(results: list[Extracted | Failure]) -> list[str]:
    return [result.error_class if isinstance(result, Failure) else "extracted" for result in results]


@pytest.fixture
async def pool(hostile_parsers: str) -> AsyncIterator[ExtractionPool]:
    async with ExtractionPool(1, timeout_seconds=2.0, memory_bytes=400 * MEBIBYTE, setup=[hostile_parsers]) as running:
        yield running


async def test_a_document_comes_back_with_text_chunks_vectors_and_versions(pool: ExtractionPool) -> None:
    text = "Grüße 😀, the wing lifts.\n\n" * 200
    (result,) = await pool.extract_many([text_source(text.replace("\n", "\r\n"), "Wings")])
    assert isinstance(result, Extracted)
    assert result.text == text
    assert result.title == "Wings"
    assert len(result.chunks) > 1
    passages = []
    for chunk in result.chunks:
        assert text.encode()[chunk.start_byte : chunk.end_byte].decode() == text[chunk.start : chunk.end]
        passages.append(passage_text("Wings", text[chunk.start : chunk.end]))
    embedder = WordLlamaEmbedder()
    assert (result.embeddings == embedder.embed(passages)).all()
    assert result.embeddings.dtype == np.float32
    assert (result.embedder_name, result.embedder_version) == (embedder.name, embedder.version)
    assert (result.parser_version, result.chunker_version) == ("text/1", CHUNKER_VERSION)


async def test_a_child_holds_documents_to_the_bounds_it_was_given() -> None:
    async with ExtractionPool(1, bounds=Bounds(chunks=2, title_characters=4)) as bounded:
        long, short, titled, whole = await bounded.extract_many([
            text_source("A line of text.\n\n" * 400),
            text_source("A line of text.\n\n" * 200),
            Source(b"# A heading\nbody", "a.md"),
            Source(b"A line of text.\n\n" * 400, "a.txt", cut=False),
        ])  # fmt: skip
    assert isinstance(long, Failure)
    assert (long.error_class, long.retryable) == ("too_many_chunks", False)
    assert "more than 2 chunks" in long.message
    assert "limits.chunks_per_document" in long.message
    assert isinstance(short, Extracted)
    assert len(short.chunks) == 2
    assert isinstance(titled, Extracted)
    assert titled.title == "A he"
    assert isinstance(whole, Extracted)
    assert (whole.chunks, whole.embeddings.shape) == ([], (0, 256))


async def test_every_format_passes_through_a_child(
    pool: ExtractionPool, make_pdf: Callable[..., bytes], make_docx: Callable[..., bytes]
) -> None:
    results = await pool.extract_many([
        Source(make_pdf("one", "two"), "a.pdf"),
        Source(make_docx("body", title="Inside"), "a.docx"),
        Source(b"<title>Page</title><p>body", "a.html"),
        Source(b"# Head\nbody", "a.md"),
    ])  # fmt: skip
    assert classes(results) == ["extracted"] * 4
    assert [result.title for result in results if isinstance(result, Extracted)] == [None, "Inside", "Page", "Head"]
    assert isinstance(results[0], Extracted)
    assert results[0].page_starts == (0, 5)


async def test_results_keep_the_order_of_their_sources(pool: ExtractionPool) -> None:
    sources = [text_source(f"document {number}") for number in range(2500)]
    results = await pool.extract_many(sources)
    assert [result.text for result in results if isinstance(result, Extracted)] == [
        f"document {number}" for number in range(2500)
    ]


async def test_a_path_is_read_by_the_child(pool: ExtractionPool, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"from a file")
    results = await pool.extract_many([Source(tmp_path / "a.txt", "a.txt"), Source(tmp_path / "gone.txt", "gone.txt")])
    assert isinstance(results[0], Extracted)
    assert results[0].text == "from a file"
    assert results[1] == Failure("source_unreadable", results[1].message, True)  # type: ignore[union-attr]


async def test_bad_documents_fail_by_their_class_without_costing_the_child(pool: ExtractionPool) -> None:
    results = await pool.extract_many([
        text_source(""),
        text_source("  \n"),
        Source(b"\xff", "a.txt"),
        Source(b"x", "a.exe"),
        Source(b"x", "a.pdf"),
        Source(b"%PDF-1.7 x", "a.pdf"),
        text_source("good"),
        text_source("good", "half \ud83d"),
    ])  # fmt: skip
    assert classes(results) == [
        "empty_file", "empty_text", "undecodable_text", "unsupported_media_type", "media_type_mismatch",
        "broken_pdf", "extracted", "undecodable_text",
    ]  # fmt: skip
    assert pool.replaced == 0


@pytest.mark.parametrize(
    ("how", "error_class", "retryable"),
    [
        ("hang", "parse_timeout", False),
        ("allocate", "parse_memory", False),
        ("abort", "parse_crashed", True),
        ("segfault", "parse_crashed", True),
        ("exit", "parse_crashed", True),
    ],
)
async def test_only_the_guilty_document_of_a_batch_fails(
    pool: ExtractionPool, how: str, error_class: str, retryable: bool
) -> None:
    batch = [text_source("before"), hostile(how), text_source("after")]
    results = await pool.extract_many(batch)
    assert classes(results) == ["extracted", error_class, "extracted"]
    guilty = results[1]
    assert isinstance(guilty, Failure)
    assert guilty.retryable is retryable
    assert pool.replaced >= 2
    assert classes(await pool.extract_many([text_source("next")])) == ["extracted"]


async def test_an_unforeseen_error_names_its_class_but_does_not_quote_the_document(pool: ExtractionPool) -> None:
    (result,) = await pool.extract_many([hostile("raise secret words")])
    assert isinstance(result, Failure)
    assert (result.error_class, result.retryable) == ("parse_crashed", True)
    assert "RuntimeError" in result.message
    assert "secret" not in result.message


async def test_a_real_document_too_large_for_the_memory_limit_is_named(
    replace_part: Callable[[str, bytes], bytes],
) -> None:
    words = random.Random(7)
    paragraphs = b"".join(b"<w:p><w:r><w:t>%x</w:t></w:r></w:p>" % words.getrandbits(160) for _ in range(300_000))
    namespace = b"http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    body = b'<w:document xmlns:w="%b"><w:body>%b</w:body></w:document>' % (namespace, paragraphs)
    large = Source(replace_part("word/document.xml", body), "large.docx")
    async with ExtractionPool(1, memory_bytes=360 * MEBIBYTE) as small:
        results = await small.extract_many([text_source("before"), large, text_source("after")])
    assert classes(results) == ["extracted", "parse_memory", "extracted"]


async def test_a_child_killed_while_idle_is_replaced_in_silence(pool: ExtractionPool) -> None:
    (result,) = await pool.extract_many([hostile("limits")])
    assert isinstance(result, Extracted)
    (child,) = pool._idle
    descriptor = os.pidfd_open(child.pid)
    os.kill(child.pid, signal.SIGKILL)
    select.select([descriptor], [], [], 10)
    os.close(descriptor)
    assert classes(await pool.extract_many([text_source("next")])) == ["extracted"]


async def test_noise_on_standard_output_does_not_disturb_the_answer(pool: ExtractionPool) -> None:
    (result,) = await pool.extract_many([hostile("print it")])
    assert isinstance(result, Extracted)
    assert result.text == "print it"


async def test_a_child_knows_no_secret_and_no_database(hostile_parsers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATALANE_DATABASE_URL", "postgresql://user:secret@host/db")
    monkeypatch.setenv("PGPASSWORD", "secret")
    async with ExtractionPool(1, setup=[hostile_parsers]) as running:
        (result,) = await running.extract_many([hostile("environment")])
    assert isinstance(result, Extracted)
    environment = json.loads(result.text)
    assert not [name for name in environment if name.startswith(("DATALANE", "PG"))]
    assert "secret" not in result.text
    assert environment["OPENBLAS_NUM_THREADS"] == "1"


async def test_a_child_has_its_limits_and_a_session_of_its_own(pool: ExtractionPool) -> None:
    (result,) = await pool.extract_many([hostile("limits")])
    assert isinstance(result, Extracted)
    assert json.loads(result.text) == [400 * MEBIBYTE, True]


async def test_a_canceled_batch_ends_its_child_and_leaves_the_pool_usable(pool: ExtractionPool, tmp_path: Path) -> None:
    fifo = tmp_path / "at-work"
    os.mkfifo(fifo)
    task = asyncio.create_task(pool.extract_many([hostile(f"announce-and-hang {fifo}")]))
    with await asyncio.to_thread(fifo.open) as at_work:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert at_work.read() == "", "the writing end is closed: the child is gone"
    assert classes(await pool.extract_many([text_source("next")])) == ["extracted"]


async def test_children_work_side_by_side(hostile_parsers: str, tmp_path: Path) -> None:
    fifo = tmp_path / "at-work"
    os.mkfifo(fifo)
    async with ExtractionPool(2, timeout_seconds=30.0, setup=[hostile_parsers]) as running:
        await running.start()
        busy = asyncio.create_task(running.extract_many([hostile(f"announce-and-hang {fifo}")]))
        with await asyncio.to_thread(fifo.open):
            assert classes(await running.extract_many([text_source("meanwhile")])) == ["extracted"]
            assert not busy.done()
            busy.cancel()
            with pytest.raises(asyncio.CancelledError):
                await busy


async def test_a_pool_without_enough_memory_to_start_says_so() -> None:
    async with ExtractionPool(1, memory_bytes=60 * MEBIBYTE) as starved:
        with pytest.raises(ExtractionUnavailable, match=r"memory limit of 60 MiB|cannot start"):
            await starved.extract_many([text_source("x")])


async def test_a_setup_function_that_is_missing_is_named() -> None:
    async with ExtractionPool(1, setup=["no_such_module:register"]) as misconfigured:
        with pytest.raises(ExtractionUnavailable, match="no_such_module"):
            await misconfigured.extract_many([text_source("x")])


async def test_a_closed_pool_takes_no_more_work_and_leaves_no_process() -> None:
    pool = ExtractionPool(1)
    await pool.start()
    (child,) = pool._idle
    await pool.aclose()
    assert not child.alive
    with pytest.raises(ExtractionUnavailable, match="closed"):
        await pool.extract_many([text_source("x")])


PARENT = """
import asyncio, signal
from datalane.knowledge.extraction import ExtractionPool
async def main():
    pool = ExtractionPool(1)
    await pool.start()
    print(pool._idle[0].pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def test_children_die_with_a_killed_parent() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        descriptor = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
        ended, _, _ = select.select([descriptor], [], [], 10)
        os.close(descriptor)
    assert ended, "the child outlived its parent"
