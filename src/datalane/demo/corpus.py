"""What the demo reads: a folder in BEIR layout, or the documents that ship with the package."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from datalane.knowledge.beir import BeirQuery, count_documents, find_qrels, read_corpus, read_qrels, read_queries
from datalane.knowledge.documents.schemas import NewDocument
from datalane.knowledge.parsing import TITLE_CHARACTERS

SHIPPED = Path(__file__).parent / "documents"


@dataclass(frozen=True, slots=True)
class File:
    """A document to upload. `id` is its name in queries' judgements and the end of its source_uri."""

    id: str
    document: NewDocument
    data: bytes


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents are read when they are asked for; `judgements` is None when nobody judged."""

    name: str
    documents: int
    files: Callable[[], Iterator[File]]
    queries: list[BeirQuery]
    judgements: Mapping[str, Mapping[str, int]] | None


def open_corpus(folder: Path | None, title_characters: int = TITLE_CHARACTERS) -> Corpus:
    """The corpus in `folder`, whose titles have at most `title_characters`, or the shipped one.

    All of it is read once, so that a missing file or a malformed line (`CorpusMissing`, `CorpusMalformed`, naming file
    and line) stops the demo before anything is started.
    """
    if folder is None:
        return _shipped_corpus("lane", list(read_queries(SHIPPED)))
    count_documents(folder)
    documents = sum(1 for _ in read_corpus(folder, title_characters))
    judgements = read_qrels(folder) if find_qrels(folder) else None
    queries = list(read_queries(folder))
    return Corpus(folder.resolve().name, documents, lambda: _beir_files(folder, title_characters), queries, judgements)


def other_corpus() -> Corpus:
    """Documents about something else, for the second workspace."""
    return _shipped_corpus("harbour", [])


def source_uri(identity: str) -> str:
    return f"demo:{identity}"


def identity_of(uri: str | None) -> str:
    return (uri or "").removeprefix("demo:")


def _beir_files(folder: Path, title_characters: int) -> Iterator[File]:
    for entry in read_corpus(folder, title_characters):
        document = NewDocument(
            filename=f"{entry.id}.txt"[-200:],
            media_type="text/plain",
            title=entry.title or None,
            source_uri=source_uri(entry.id),
            metadata=entry.metadata,
        )
        yield File(entry.id, document, entry.data)


def _shipped_corpus(name: str, queries: list[BeirQuery]) -> Corpus:
    paths = sorted(path for path in (SHIPPED / name).iterdir() if path.is_file())

    def files() -> Iterator[File]:
        for path in paths:
            data = path.read_bytes()
            # The other formats name their title themselves.
            title = data.decode().partition("\n")[0] if path.suffix == ".txt" else None
            document = NewDocument(filename=path.name, title=title, source_uri=source_uri(path.name), tags=[name])
            yield File(path.name, document, data)

    return Corpus(name, len(paths), files, queries, None)
