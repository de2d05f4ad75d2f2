"""`datalane agents evaluate`: the assistant answers the cases of a file, and the command says whether that will do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.integration.agents.assistant.conftest import (
    Desk,
    ada,
    app,
    client,
    desk,
    lane,
    runtime,
    sign_up,
)
from tests.integration.api.conftest import Person

from datalane.cli.agent_evaluation import read_cases, read_threshold
from datalane.db.provision import Prepared
from datalane.errors import InvalidInput
from datalane.kit.ids import uuid7

__all__ = ["ada", "app", "client", "desk", "lane", "runtime", "sign_up"]

Said = Any
Evaluate = Callable[..., Awaitable[Said]]
QUESTIONS = (
    *("Who stands in the reeds?", "What do herons eat?", "What fish do they eat?", "Has anybody counted the herons?"),
    *("How often does the lighthouse shine?", "When was the lighthouse built?", "What was built in 1850?"),
    *("Where do herons stand?", "Who has counted them?", "What shines every five seconds?", "Do they eat frogs?"),
    "Is there a lighthouse that shines?",
)


@pytest.fixture
def agents(
    urls: Prepared, home: Path, ada: Person, datalane: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> Evaluate:
    """`await agents("evaluate", …)` on this test's lane, in ada's workspace, beside the test's own event loop."""
    monkeypatch.setenv("DATALANE_HOME", str(home))
    for name, value in urls.as_environment().items():
        monkeypatch.setenv(name, value)

    async def run(command: str, *arguments: object) -> Said:
        said = ("agents", command, "--workspace", str(ada.workspace_id), *map(str, arguments))
        return await asyncio.to_thread(datalane, *said)

    return run


def write(path: Path, *cases: dict[str, Any] | bytes) -> Path:
    path.write_bytes(b"\n".join(case if isinstance(case, bytes) else orjson.dumps(case) for case in cases))
    return path


async def test_the_assistant_is_evaluated_compared_and_told_to_be_worse(
    agents: Evaluate, desk: Desk, tmp_path: Path
) -> None:
    documents = (await desk.get("/documents/list"))["data"]
    relevant = {document["document_id"]: 1 for document in documents}
    file = write(
        tmp_path / "birds.jsonl",
        *({"case_id": f"q{n}", "input": text, "relevant": relevant} for n, text in enumerate(QUESTIONS)),
    )
    first = await agents("evaluate", "--dataset", file, "--at-least", "citations=0.95", "--json")
    assert first.status == 0, first.out + first.err
    evaluation = first.json["evaluation"]
    assert (evaluation["dataset"], evaluation["agent"], evaluation["cases"]) == ("birds", "assistant", len(QUESTIONS))
    assert (evaluation["graded"], evaluation["passed"]) == (len(QUESTIONS), True)
    assert evaluation["scores"]["citations"]["value"] >= 0.95
    assert evaluation["scores"]["R@100"]["value"] == 1.0
    assert (first.json["comparison"], first.json["faults"]) == (None, [])

    below = await agents("evaluate", "--dataset", file, "--grader", "exact", "--coverage", "0.5")
    assert (below.status, "0 of 12 cases are graded" in below.out) == (1, True)
    assert "12 × invalid: exact: the case does not say what is expected" in below.out

    for document in documents:
        gone = await desk.client.delete(f"/documents/{document['document_id']}", headers=desk.headers)
        assert gone.is_success, gone.text
    await desk.index("Owls sleep by day. They hunt at night.")
    said = ("--dataset", file, "--grader", "retrieval", "--fail-if-worse", "--at-least", "R@100=0.5")
    worse = await agents("evaluate", *said)
    assert worse.status == 1
    for part in ("Beside evaluation", "R@100 is worse than in", "R@100 is 0.0000, below 0.5", "changed most: q0, q1"):
        assert part in worse.out, worse.out
    other = await agents(
        "evaluate",
        "--dataset",
        write(tmp_path / "owls.jsonl", {"case_id": "a", "input": "Who?"}),
        "--against",
        evaluation["evaluation_id"],
    )
    assert (other.status, "is of another dataset, birds version 1" in other.err) == (2, True)

    listed = (await desk.get("/agents/evaluations/list"))["data"]
    assert [each["graded"] for each in listed] == [12, 0, 12]
    refused = await agents("evaluate", "--dataset", file, "--against", listed[1]["evaluation_id"])
    assert (refused.status, "has no scores to compare with" in refused.err) == (2, True)
    report = await agents("rollback-report", "--model-version", evaluation["model_version_id"], "--json")
    told = [line["evaluation"] for line in map(orjson.loads, report.out.splitlines()) if "evaluation" in line]
    assert [each["evaluation_id"] for each in told] == [each["evaluation_id"] for each in listed]
    table = await agents("rollback-report", "--model-version", evaluation["model_version_id"])
    assert "R@100 0.0000" in table.out


# Files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b'{"case_id": "b"', "not valid JSON"),
        (b'{"case_id": "b", "input": "x", "input": "y"}', "more than once"),
        (b'{"case_id": "b"}', "input: Field required"),
        (b'{"case_id": "b", "input": "x", "wrong": 1}', "wrong: Extra inputs"),
        (b'{"case_id": "b", "input": "x", "relevant": {"a": -1}}', "relevant.a"),
        (b'{"case_id": "b", "input": {"text": "x"}}', "holds no question"),
        (b'{"case_id": "b", "input": " "}', "holds no question"),
        (b'{"case_id": "a", "input": "x"}', "stands in line 1 already"),
        (b"\xff", "not UTF-8"),
        (b"[]", "the line"),
    ],
)
def test_a_broken_line_is_told_with_its_number(tmp_path: Path, line: bytes, told: str) -> None:
    file = write(tmp_path / "cases.jsonl", {"case_id": "a", "input": "x"}, b"", line)
    with pytest.raises(InvalidInput) as refused:
        read_cases(file)
    assert f"{file}:3: " in str(refused.value)
    assert told in str(refused.value)


def test_a_file_without_cases_and_one_that_is_not_there_are_refused(tmp_path: Path) -> None:
    for file in (write(tmp_path / "empty.jsonl", b"", b" \r"), tmp_path / "none.jsonl"):
        with pytest.raises(InvalidInput, match=file.name):
            read_cases(file)


@pytest.mark.parametrize("text", ["citations", "citations=", "citations=1.1", "citations=-1", "=0.5", "citations=nan"])
def test_a_threshold_is_a_score_and_a_mean(text: str) -> None:
    assert read_threshold("R@100=0.5") == ("R@100", 0.5)
    with pytest.raises(InvalidInput):
        read_threshold(text)


async def test_what_is_asked_wrongly_is_told_before_anything_is_read_or_stored(
    agents: Evaluate, desk: Desk, tmp_path: Path
) -> None:
    file = write(tmp_path / "cases.jsonl", {"case_id": "a", "input": "Who?"}, b"{")
    good = write(tmp_path / "good.jsonl", {"case_id": "a", "input": "Who?"})
    for arguments in (
        ("--dataset", file),
        ("--dataset", good, "--grader", "owl"),
        ("--dataset", good, "--at-least", "owl"),
        ("--dataset", good, "--against", "x"),
        ("--dataset", good, "--against", uuid7()),
        ("--dataset", good, "--workspace", uuid7()),
    ):
        said = await agents("evaluate", *arguments, "--json")
        assert (said.status, said.json["error"]["code"]) in ((2, "invalid_input"), (2, "not_found")), arguments
    assert (await desk.get("/agents/datasets/list"))["data"] == []
