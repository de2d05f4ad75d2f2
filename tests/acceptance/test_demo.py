"""`datalane demo` as a real process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import psutil
import psycopg
import pytest
from tests.acceptance.running_lane import eventually

from datalane.db.embedded import EmbeddedPostgres
from datalane.db.provision import Prepared

PATIENCE = 240.0
PROJECT = Path(__file__).parents[2]
KEYS = {
    "documents",
    "documents_failed",
    "documents_per_second",
    "query_p50_ms",
    "query_p95_ms",
    "methods",
    "citations_checked",
    "citations_failed",
    "foreign_rows_attempts",
    "foreign_rows",
}


def environment(scratch: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DATALANE_")}
    return {**inherited, "TMPDIR": str(scratch)}


def demo(scratch: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[bytes]:
    scratch.chmod(0o755)
    command = [sys.executable, "-m", "datalane.cli.main", "demo", "--json", *arguments]
    return subprocess.run(
        command, env={**environment(scratch), **settings}, capture_output=True, timeout=PATIENCE, check=False
    )


def report_of(done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr.decode()[-2_000:]
    report: dict[str, Any] = orjson.loads(done.stdout)
    assert report.keys() >= KEYS
    return report


def holds(report: dict[str, Any]) -> bool:
    """Every proof was tried and none failed."""
    return (
        report["citations_checked"] > 0
        and report["foreign_rows_attempts"] >= 200
        and report["isolation_control_rows"] > 0
        and report["assistant_answered"] > 0
        and report["assistant_citation_presence"] >= 0.95
        and report["assistant_conformance"] >= 0.99
        and float(report["assistant_cost_usd"]) > 0
        and report["assistant_costs_reconcile"]
        and not any(
            report[name]
            for name in (
                "citations_failed",
                "foreign_rows",
                "foreign_writes",
                "not_found_differences",
                "server_errors",
            )
        )
    )


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A short folder for temporary files: a socket's path is at most 107 characters long."""
    folder = Path(tempfile.mkdtemp(prefix="dd"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_the_shipped_documents_go_the_whole_way_and_nothing_is_left_behind(scratch: Path) -> None:
    report = report_of(demo(scratch))
    assert (report["documents_failed"], report["documents_searchable"]) == (0, report["documents"])
    assert holds(report)
    assert report["citations_checked"] == 3 * report["queries"]
    assert report["query_p95_ms"] >= report["query_p50_ms"] > 0
    for method in ("semantic", "keyword", "hybrid"):
        assert (report["methods"][method]["ndcg_at_10"], report["methods"][method]["recall_at_100"]) == (None, None)
    assert list(scratch.iterdir()) == []


@pytest.mark.soak
def test_in_a_database_of_your_own_the_two_workspaces_stay(
    scratch: Path, urls: Prepared, cluster: EmbeddedPostgres
) -> None:
    settings = {"DATALANE_DATABASE_URL": urls.database_url, "DATALANE_HOME": str(scratch / "home")}
    report = report_of(demo(scratch, **settings))
    assert holds(report)
    database = urls.database_url.partition("?")[0].rpartition("/")[2]
    with psycopg.connect(cluster.url(database)) as admin:
        kept = admin.execute("SELECT count(DISTINCT workspace_id), count(*) FROM datalane.documents").fetchone()
    assert kept == (2, report["documents"] + report["other_documents"])
    assert sum(path.is_file() for path in (scratch / "home" / "files").rglob("*")) == kept[1]


@pytest.mark.soak
def test_judged_queries_are_measured_with_their_grades(scratch: Path, tmp_path: Path) -> None:
    write(
        tmp_path / "corpus.jsonl",
        [{"_id": str(n), "title": f"{w}", "text": f"All about {w}."} for n, w in enumerate(WORDS)],
    )
    write(tmp_path / "queries.jsonl", [{"_id": "q1", "text": WORDS[0]}, {"_id": "q2", "text": WORDS[3]}])
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\t0\t3\nq2\t3\t2\n")
    report = report_of(demo(scratch, "--corpus", str(tmp_path)))
    assert report["documents"] == len(WORDS)
    assert report["methods"]["keyword"]["ndcg_at_10"] == 1.0
    assert report["methods"]["hybrid"]["recall_at_100"] == 1.0


WORDS = ("alder", "beech", "cedar", "elder", "hazel")


def write(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))


def test_a_missing_corpus_is_a_clear_error(scratch: Path) -> None:
    done = demo(scratch, "--corpus", str(scratch / "nowhere"))
    fault = orjson.loads(done.stdout)["error"]
    assert (done.returncode, fault["code"]) == (2, "corpus_missing")
    assert "nowhere" in fault["message"]


def test_a_malformed_line_is_named_by_its_number(scratch: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"_id": "1", "title": "", "text": "fine"}\n{"_id": "2", "text": \n')
    write(tmp_path / "queries.jsonl", [{"_id": "1", "text": "fine"}])
    done = demo(scratch, "--corpus", str(tmp_path))
    fault = orjson.loads(done.stdout)["error"]
    assert (done.returncode, fault["code"]) == (2, "corpus_malformed")
    assert "corpus.jsonl, line 2" in fault["message"]
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_everything_that_was_started(scratch: Path, number: signal.Signals) -> None:
    scratch.chmod(0o755)
    command = [sys.executable, "-m", "datalane.cli.main", "demo", "--json"]
    with subprocess.Popen(
        command, env=environment(scratch), stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        children = wait_for_children(process)
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []
    assert list(scratch.iterdir()) == []


def wait_for_children(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The processes below it, once its Postgres has started workers of its own."""
    watched = psutil.Process(process.pid)
    assert eventually(lambda: any(map(is_checkpointer, watched.children(recursive=True))), within=60)
    children: list[psutil.Process] = watched.children(recursive=True)
    return children


def is_checkpointer(process: psutil.Process) -> bool:
    try:
        return "checkpointer" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def cranfield() -> Path:
    named = os.environ.get("CRANFIELD_CORPUS")
    folder = Path(named) if named else PROJECT.parent / "shared" / "data" / "cranfield"
    if not (folder / "corpus.jsonl").is_file():
        pytest.skip(f"NOT TESTED: the Cranfield corpus is not at {folder}; set CRANFIELD_CORPUS to its folder")
    return folder


@pytest.mark.soak
def test_cranfield_is_searched_as_well_as_it_should_be(scratch: Path) -> None:
    report = report_of(demo(scratch, "--corpus", str(cranfield())))
    assert (report["documents"], report["documents_searchable"], report["documents_failed"]) == (1400, 1398, 2)
    assert report["failures"] == [
        {"document": "471", "error_class": "empty_file"},
        {"document": "995", "error_class": "empty_file"},
    ]
    assert holds(report)
    assert report["methods"]["keyword"]["ndcg_at_10"] >= 0.425
    assert report["methods"]["hybrid"]["ndcg_at_10"] >= 0.435
    assert report["methods"]["hybrid"]["ndcg_at_10"] > report["methods"]["keyword"]["ndcg_at_10"]
