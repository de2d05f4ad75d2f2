"""Read a folder in BEIR layout: corpus.jsonl, queries.jsonl, qrels.tsv (or qrels/<split>.tsv).

Line by line, so that a corpus may be larger than memory. Documents without text are yielded too: they fail later, in
sight, as `empty_file` or `empty_text`. A malformed line is an error that names the file and the line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from datalane.errors import InvalidInput
from datalane.knowledge.parsing import TITLE_CHARACTERS

CORPUS = "corpus.jsonl"
QUERIES = "queries.jsonl"
QRELS = "qrels.tsv"
_HIGHEST_GRADE = 1_000
_LINE_BYTES = 64 * 1024 * 1024


class CorpusMissing(InvalidInput):
    """The folder, or a file that should be in it, does not exist."""

    code = "corpus_missing"


class CorpusMalformed(InvalidInput):
    """A line cannot be read; the message names file and line."""

    code = "corpus_malformed"


@dataclass(frozen=True, slots=True)
class BeirDocument:
    """One line of corpus.jsonl, as written."""

    id: str
    title: str
    text: str
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def data(self) -> bytes:
        """The text as the bytes of a plain text file. A lone surrogate stays one and fails as `undecodable_text`."""
        return self.text.encode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True)
class BeirQuery:
    """One line of queries.jsonl."""

    id: str
    text: str


def count_documents(folder: Path) -> int:
    """Lines of corpus.jsonl that are not blank. Raises CorpusMissing."""
    with _require(folder, CORPUS).open("rb") as stream:
        return sum(1 for line in stream if not line.isspace())


def read_corpus(folder: Path, title_characters: int = TITLE_CHARACTERS) -> Iterator[BeirDocument]:
    """Documents in file order. Raises CorpusMissing at once, CorpusMalformed when the line is reached.

    A title of more than `title_characters` is refused by its line rather than cut: what is indexed is what was written.
    """
    return _iterate_corpus(_require(folder, CORPUS), title_characters)


def read_queries(folder: Path) -> Iterator[BeirQuery]:
    """Queries in file order. Raises CorpusMissing at once, CorpusMalformed when the line is reached."""
    return _iterate_queries(_require(folder, QUERIES))


def find_qrels(folder: Path, split: str = "test") -> Path | None:
    """The file of judgements: qrels.tsv, qrels/<split>.tsv or the only qrels/*.tsv; None when there is none."""
    for path in (folder / QRELS, folder / "qrels" / f"{split}.tsv"):
        if path.is_file():
            return path
    others = sorted((folder / "qrels").glob("*.tsv"))
    return others[0] if len(others) == 1 else None


def read_qrels(folder: Path, split: str = "test") -> dict[str, dict[str, int]]:
    """Graded judgements: query id → document id → grade. Raises CorpusMissing, CorpusMalformed."""
    path = find_qrels(folder, split)
    if path is None:
        raise CorpusMissing(f"{folder} has no judgements: expected {QRELS} or qrels/{split}.tsv.")
    qrels: dict[str, dict[str, int]] = {}
    for number, raw in _iterate_lines(path):
        columns = _decode(path, number, raw).rstrip("\r\n").split("\t")
        if number == 1 and columns[-1].strip().lower() == "score":
            continue
        if len(columns) != 3:
            _refuse(path, number, f"expected query id, document id and score between tabs, got {len(columns)} columns")
        query_id, document_id, score = (column.strip() for column in columns)
        try:
            grade = int(score)
        except ValueError:
            _refuse(path, number, f"the score {score[:40]!r} is not a whole number")
        if abs(grade) > _HIGHEST_GRADE:
            _refuse(path, number, f"the score is not between -{_HIGHEST_GRADE} and {_HIGHEST_GRADE}")
        if qrels.setdefault(query_id, {}).setdefault(document_id, grade) != grade:
            _refuse(path, number, f"query {query_id!r} and document {document_id!r} were judged before, differently")
    return qrels


def _iterate_corpus(path: Path, title_characters: int) -> Iterator[BeirDocument]:
    for number, identity, entry in _iterate_objects(path):
        metadata = entry.get("metadata")
        if metadata is not None and not isinstance(metadata, dict):
            _refuse(path, number, "`metadata` must be an object")
        title, text = _text_of(path, number, entry, "title", ""), _text_of(path, number, entry, "text", None)
        if len(title) > title_characters:
            _refuse(
                path,
                number,
                f"`title` has {len(title):,} characters, the limit is {title_characters:,} (limits.title_characters)",
            )
        yield BeirDocument(identity, title, text, metadata or {})


def _iterate_queries(path: Path) -> Iterator[BeirQuery]:
    for number, identity, entry in _iterate_objects(path):
        yield BeirQuery(identity, _text_of(path, number, entry, "text", None))


def _iterate_objects(path: Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Line number, `_id` and object of each line."""
    seen: set[str] = set()
    for number, raw in _iterate_lines(path):
        try:
            entry = json.loads(
                _decode(path, number, raw), parse_constant=_refuse_constant, object_pairs_hook=_unique_keys
            )
        except RecursionError:
            _refuse(path, number, "the JSON is nested too deeply")
        except ValueError as error:
            _refuse(path, number, f"not valid JSON ({error})")
        if not isinstance(entry, dict):
            _refuse(path, number, "expected a JSON object")
        identity = entry.get("_id")
        if not isinstance(identity, str) or not identity:
            _refuse(path, number, "`_id` must be a string that is not empty")
        if identity in seen:
            _refuse(path, number, f"the `_id` {identity[:80]!r} appears twice")
        seen.add(identity)
        yield number, identity, entry


def _iterate_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, numbered from 1."""
    with path.open("rb") as stream:
        number = 0
        while raw := stream.readline(_LINE_BYTES + 1):
            number += 1
            if len(raw) > _LINE_BYTES:
                _refuse(path, number, f"the line is longer than {_LINE_BYTES // 2**20} MiB")
            if not raw.isspace():
                yield number, raw


def _decode(path: Path, number: int, raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        _refuse(path, number, f"not valid UTF-8 at byte {error.start} of the line")


def _text_of(path: Path, number: int, entry: dict[str, Any], key: str, default: str | None) -> str:
    value = entry.get(key, default)
    if not isinstance(value, str):
        _refuse(path, number, f"`{key}` must be a string")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entry = dict(pairs)
    if len(entry) != len(pairs):
        raise ValueError("a key appears twice")
    return entry


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _refuse(path: Path, number: int, reason: str) -> NoReturn:
    raise CorpusMalformed(f"{path.name}, line {number}: {reason}.")


def _require(folder: Path, name: str) -> Path:
    if not folder.is_dir():
        raise CorpusMissing(
            f"The corpus folder {folder} does not exist. Expected a folder with {CORPUS}, and with {QUERIES} and "
            f"{QRELS} when queries are to be measured."
        )
    path = folder / name
    if not path.is_file():
        raise CorpusMissing(f"{folder} has no {name}. A BEIR folder holds {CORPUS}, {QUERIES} and {QRELS}.")
    return path
