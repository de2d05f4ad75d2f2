"""`datalane eval retrieval` as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from datalane.db.access import Prepared

Eval = Callable[..., Any]
ANIMALS = ("owl", "heron", "fox", "adder")


@pytest.fixture
def evaluate(urls: Prepared, home: Path, datalane: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Eval:
    """`evaluate(…)` on this test's lane."""
    monkeypatch.setenv("DATALANE_HOME", str(home))
    for name, value in urls.as_environment().items():
        monkeypatch.setenv(name, value)
    return lambda *arguments: datalane("eval", "retrieval", *map(str, arguments))


def written(folder: Path, words: Sequence[str], text: str, question: str) -> Path:
    """A dataset of a document and a query for each word, which stands in both for `{}`."""
    folder.mkdir()
    lines = {
        "corpus.jsonl": [{"_id": word, "title": word, "text": text.format(word)} for word in words],
        "queries.jsonl": [{"_id": f"q-{word}", "text": question.format(word)} for word in words],
    }
    for name, entries in lines.items():
        (folder / name).write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    (folder / "qrels.tsv").write_text("".join(f"q-{word}\t{word}\t1\n" for word in words))
    return folder


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return written(tmp_path / "animals", ANIMALS, "The {} by the lake.", "where is the {}")


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    """Forty documents, each of a number that no other has, which hardly tells them apart by meaning."""
    words = [str(number) for number in range(70_001, 70_041)]
    return written(tmp_path / "many", words, "The {0} by the lake of {0}.", "the {} by the lake")


def test_it_measures_every_method_keeps_the_runs_and_compares_with_the_one_before(
    evaluate: Eval, dataset: Path
) -> None:
    first = evaluate("--dataset", dataset, "--json")
    assert first.status == 0, first.err
    runs = {one["run"]["method"]: one for one in first.json["runs"]}
    assert runs.keys() == {"semantic", "keyword", "hybrid"}
    assert runs["keyword"]["run"]["measures"]["RR@10"]["value"] == 1
    assert runs["keyword"]["run"]["queries"] == len(ANIMALS)
    assert all(one["comparison"] is None for one in runs.values())

    again = evaluate("--dataset", dataset, "--method", "hybrid", "--keyword-weight", 0.4, "--json")
    assert again.status == 0, again.err
    assert again.json["workspace_id"] == first.json["workspace_id"]
    [one] = again.json["runs"]
    assert one["comparison"]["baseline_id"] == runs["hybrid"]["run"]["run_id"]
    assert one["comparison"]["changed_versions"] == {"keyword_weight": ["0.7", "0.4"]}


def test_it_learns_confidences_of_judged_results(evaluate: Eval, numbers: Path) -> None:
    done = evaluate("--dataset", numbers, "--method", "keyword", "--calibrate", "--json")
    assert done.status == 0, done.err
    learned = done.json["runs"][0]["calibration"]
    assert (learned["method"], learned["queries"], learned["results"]) == ("keyword", 40, 400)
    assert learned["confidences"] == sorted(learned["confidences"])
    assert learned["brier_score"] < learned["base_brier_score"] / 2
    [high] = [band for band in learned["bands"] if band["band"] == "high"]
    assert (high["results"], high["relevant"]) == (40, 1)
    shown = evaluate("--dataset", numbers, "--method", "keyword", "--calibrate")
    assert "not learned from" in shown.out


def test_too_few_queries_are_not_learned_from_and_none_is_asked(evaluate: Eval, dataset: Path) -> None:
    done = evaluate("--dataset", dataset, "--calibrate")
    assert (done.status, "4 judged queries are too few" in done.err) == (2, True)


def test_below_a_threshold_it_fails_and_says_what_is_below(evaluate: Eval, dataset: Path) -> None:
    (dataset / "qrels.tsv").write_text("q-owl\tnobody\t1\n")
    said = evaluate("--dataset", dataset, "--method", "keyword", "--at-least", "keyword:nDCG@10=0.1")
    assert said.status == 1
    assert "keyword nDCG@10 is 0.0000, below 0.1" in said.out


def test_worse_than_before_it_fails_when_it_is_asked_to(evaluate: Eval, numbers: Path) -> None:
    by_words = ("--dataset", numbers, "--method", "hybrid", "--keyword-weight", 1)
    by_meaning = ("--dataset", numbers, "--method", "hybrid", "--keyword-weight", 0)
    first = evaluate(*by_words, "--fail-if-worse")
    assert (first.status, "no run before to compare with" in first.err) == (0, True)
    assert evaluate(*by_words, "--fail-if-worse").status == 0
    worse = evaluate(*by_meaning, "--fail-if-worse", "--json")
    assert worse.status == 1
    assert any("nDCG@10" in fault for fault in worse.json["faults"]), worse.json["faults"]
    assert evaluate(*by_words, "--fail-if-worse").status == 0, "better is not worse"


def test_a_workspace_that_is_named_is_asked_as_it_is(evaluate: Eval, dataset: Path) -> None:
    first = evaluate("--dataset", dataset, "--method", "keyword", "--json")
    (dataset / "corpus.jsonl").unlink()
    (dataset / "qrels.tsv").write_text("".join(f"q-{animal}\tdemo:{animal}\t1\n" for animal in ANIMALS))
    named = evaluate("--dataset", dataset, "--method", "keyword", "--workspace", first.json["workspace_id"], "--json")
    assert named.status == 0, named.err
    assert named.json["runs"][0]["run"]["measures"] == first.json["runs"][0]["run"]["measures"]
    assert named.json["runs"][0]["comparison"] is None, "without its documents it is another dataset"


@pytest.mark.parametrize(
    ("said", "says"),
    [
        (["--at-least", "often"], "is not of the form"),
        (["--at-least", "hybrid:MAP=0.4"], "measures are nDCG@10"),
        (["--method", "guess"], "none of semantic, keyword, hybrid"),
        (["--against", "01a22747-54a7-773d-9a3f-1e734a9de106"], "no such run"),
        (["--workspace", "01a22747-54a7-773d-9a3f-1e734a9de106"], "has no documents, or is none of this lane"),
        (["--method", "keyword", "--at-least", "hybrid:nDCG@10=0.1"], "of a method that is not asked"),
    ],
)
def test_what_cannot_be_asked_is_said(evaluate: Eval, dataset: Path, said: list[str], says: str) -> None:
    done = evaluate("--dataset", dataset, *said)
    assert done.status == 2
    assert says in done.err


def test_a_dataset_without_judged_queries_is_refused(evaluate: Eval, dataset: Path) -> None:
    for line in ("somebody\towl\t1", "q-owl\towl\t0"):
        (dataset / "qrels.tsv").write_text(f"{line}\n")
        done = evaluate("--dataset", dataset)
        assert done.status == 2
        assert "judges no document as relevant" in done.err


def test_a_query_without_a_relevant_document_is_left_out(evaluate: Eval, dataset: Path) -> None:
    (dataset / "qrels.tsv").write_text("q-owl\towl\t1\nq-fox\tfox\t0\n")
    done = evaluate("--dataset", dataset, "--method", "keyword", "--json")
    assert (done.json["queries_left_out"], done.json["runs"][0]["run"]["queries"]) == (1, 1)


def test_a_query_that_cannot_be_asked_is_named(evaluate: Eval, dataset: Path) -> None:
    queries = [{"_id": "q-owl", "text": " "}, {"_id": "q-fox", "text": "fox"}]
    (dataset / "queries.jsonl").write_text("".join(f"{json.dumps(query)}\n" for query in queries))
    done = evaluate("--dataset", dataset)
    assert (done.status, "the query 'q-owl' cannot be asked" in done.err) == (2, True)


def test_a_run_is_compared_with_one_of_its_own_method_only(evaluate: Eval, dataset: Path) -> None:
    run = evaluate("--dataset", dataset, "--method", "keyword", "--json").json["runs"][0]["run"]["run_id"]
    done = evaluate("--dataset", dataset, "--against", run)
    assert (done.status, "ask with --method keyword" in done.err) == (2, True)
    assert evaluate("--dataset", dataset, "--against", run, "--method", "keyword").status == 0
