"""A BEIR folder is read line by line; what is wrong with it is said with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from datalane.knowledge import beir

GOOD = '{"_id": "1", "title": "t", "text": "x", "metadata": {"a": 1}}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "corpus.jsonl").write_text(GOOD + "\n" + '{"_id": "2", "title": "", "text": ""}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "what"}\n')
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\t1\t3\nq1\t2\t0\n")
    return tmp_path


def test_a_folder_is_read(folder: Path) -> None:
    documents = list(beir.read_corpus(folder))
    assert documents == [beir.BeirDocument("1", "t", "x", {"a": 1}), beir.BeirDocument("2", "", "", {})]
    assert documents[1].data == b"", "an empty document is yielded, to fail in sight"
    assert beir.count_documents(folder) == 2
    assert list(beir.read_queries(folder)) == [beir.BeirQuery("q1", "what")]
    assert beir.read_qrels(folder) == {"q1": {"1": 3, "2": 0}}


def test_judgements_in_a_folder_of_splits_are_found(folder: Path) -> None:
    (folder / "qrels").mkdir()
    (folder / "qrels.tsv").rename(folder / "qrels" / "test.tsv")
    (folder / "qrels" / "train.tsv").write_text("q1\t9\t1\n")
    assert beir.read_qrels(folder)["q1"]["1"] == 3
    assert beir.read_qrels(folder, "train") == {"q1": {"9": 1}}


def test_a_byte_order_mark_and_windows_line_ends_are_harmless(folder: Path) -> None:
    (folder / "corpus.jsonl").write_bytes(b"\xef\xbb\xbf" + GOOD.strip().encode() + b"\r\n")
    assert [document.id for document in beir.read_corpus(folder)] == ["1"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{broken", "not valid JSON"),
        (b"[]", "expected a JSON object"),
        (b'{"title": "t", "text": "x"}', "`_id`"),
        (b'{"_id": 7, "text": "x"}', "`_id`"),
        (b'{"_id": "1", "text": "x"}', "appears twice"),
        (b'{"_id": "3"}', "`text` must be a string"),
        (b'{"_id": "3", "text": 5}', "`text` must be a string"),
        (b'{"_id": "3", "text": "x", "title": null}', "`title` must be a string"),
        (b'{"_id": "3", "text": "x", "metadata": []}', "`metadata`"),
        (b'{"_id": "3", "text": "x", "metadata": {"n": NaN}}', "NaN is not JSON"),
        (b'{"_id": "3", "text": "x", "text": "y"}', "a key appears twice"),
        (b'{"_id": "3", "text": "\xff"}', "not valid UTF-8"),
        (b"[" * 100_000, "JSON"),
    ],
)
def test_a_malformed_line_is_named_by_file_and_number(folder: Path, line: bytes, reason: str) -> None:
    (folder / "corpus.jsonl").write_bytes(GOOD.encode() + b"\n" + line + b"\n")
    documents = beir.read_corpus(folder)
    assert next(documents).id == "1"
    with pytest.raises(beir.CorpusMalformed, match=r"corpus\.jsonl, line 3: ") as caught:
        next(documents)
    assert reason in str(caught.value)


@pytest.mark.parametrize("line", ["q1\t1", "q1\t1\tmany", "q1 1 2", "q1\t1\t2"])
def test_a_malformed_judgement_is_named_by_file_and_number(folder: Path, line: str) -> None:
    with (folder / "qrels.tsv").open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(beir.CorpusMalformed, match=r"qrels\.tsv, line 4: "):
        beir.read_qrels(folder)


def test_a_lone_surrogate_stays_in_the_bytes_so_that_its_document_fails_alone(folder: Path) -> None:
    (folder / "corpus.jsonl").write_text('{"_id": "1", "text": "half \\ud83d"}\n')
    (document,) = beir.read_corpus(folder)
    assert document.data == b"half \xed\xa0\xbd"


def test_a_title_over_the_limit_is_named_by_its_line_and_not_cut(folder: Path) -> None:
    (folder / "corpus.jsonl").write_text('{"_id": "1", "text": "x", "title": "%s"}\n' % ("t" * 12))
    assert next(beir.read_corpus(folder, title_characters=12)).title == "t" * 12
    with pytest.raises(
        beir.CorpusMalformed, match=r"line 1: `title` has 12 characters, the limit is 11 \(limits\.title"
    ):
        next(beir.read_corpus(folder, title_characters=11))


def test_a_missing_folder_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(beir.CorpusMissing, match=r"nowhere does not exist\. Expected a folder with corpus\.jsonl"):
        beir.read_corpus(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "read"),
    [("corpus.jsonl", beir.read_corpus), ("queries.jsonl", beir.read_queries), ("qrels.tsv", beir.read_qrels)],
)
def test_a_missing_file_is_named(folder: Path, name: str, read: object) -> None:
    (folder / name).unlink()
    assert callable(read)
    with pytest.raises(beir.CorpusMissing, match=name.replace(".", r"\.")):
        read(folder)


def test_missing_judgements_can_be_asked_for(folder: Path) -> None:
    assert beir.find_qrels(folder) == folder / "qrels.tsv"
    (folder / "qrels.tsv").unlink()
    assert beir.find_qrels(folder) is None
