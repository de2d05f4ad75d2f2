"""A lane that is watched: logs of one schema, traces from request through job to SQL, numbers of all processes."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.acceptance.collector import Collector, Span, collecting
from tests.acceptance.running_lane import RunningLane, environment, eventually, remove

from datalane.kit.logs import LINE

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TOKEN = "Vq8LmZ4kXw1TbR9cN2hJ"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"
PERSON = {"email": "ada@example.com", "password": "correct horse battery", "name": "Ada"}
SERVER, CLIENT, CONSUMER = 2, 3, 5


@dataclass
class Watched:
    """A lane that has ingested one document for a caller who traces, and was stopped after it was asked."""

    home: Path
    collector: Collector
    workspace_id: str
    uploaded: httpx.Response
    refused: httpx.Response
    metrics: str

    def numbers(self, name: str, **labels: str) -> float:
        """The sum of a sample over all series with these labels."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.metrics)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def lines(self) -> Iterator[dict[str, Any]]:
        for path in sorted((self.home / "logs").glob("*.log")):
            yield from map(json.loads, path.read_text().splitlines())

    @property
    def spans(self) -> list[Span]:
        return self.collector.of(TRACE)

    def span(self, name: str) -> Span:
        (found,) = [span for span in self.spans if span.name == name]
        return found


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    home = tmp_path_factory.mktemp("w")
    with collecting() as collector:
        lane = RunningLane(
            home,
            DATALANE_TELEMETRY__TRACES="record",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_BSP_SCHEDULE_DELAY="200",
        )
        try:
            url = lane.event("ready")["url"]
            seen = _use(home, url, collector)
        finally:
            lane.close()
        yield seen
    remove(home)


def _use(home: Path, url: str, collector: Collector) -> Watched:
    with httpx.Client(base_url=url, timeout=20) as client:
        session = client.post("/auth/sign-up", json=PERSON).json()
        client.headers["Authorization"] = f"Bearer {session['token']}"
        uploaded = client.post(
            "/documents/upload",
            files={"file": ("wall.txt", b"The wall between tenants is in the database.")},
            headers={"traceparent": TRACEPARENT, "X-Correlation-Id": "watched-1"},
        )
        document = f"/documents/{uploaded.json()['document_id']}"
        assert eventually(lambda: client.get(document).json()["current_version_id"] is not None, 30), client.get(
            document
        ).text
        client.post("/auth/sign-in", json={"email": PERSON["email"], "password": "wrong wrong wrong"})
        refused = client.get("/metrics")
        metrics_token = (home / "metrics_token").read_text()

        def scrape() -> str:
            return client.get("/metrics", headers={"Authorization": f"Bearer {metrics_token}"}).text

        assert eventually(lambda: 'datalane_job_attempts_total{kind="document.ingest"' in scrape(), 20), scrape()
        return Watched(home, collector, session["workspace_id"], uploaded, refused, scrape())


def test_a_trace_goes_from_the_request_through_the_job_to_sql(watched: Watched) -> None:
    request, job = watched.span("POST /documents/upload"), watched.span("process document.ingest")
    assert (request.service, request.parent, request.kind) == ("datalane-api", CALLER, SERVER)
    assert (job.service, job.parent, job.kind) == ("datalane-worker", request.id, CONSUMER)
    statements = {(span.parent, span.kind) for span in watched.spans if span.attributes.get("db.system.name")}
    assert statements == {(request.id, CLIENT), (job.id, CLIENT)}


def test_a_span_says_what_was_done_and_for_whom_but_no_values(watched: Watched) -> None:
    request, job = watched.span("POST /documents/upload"), watched.span("process document.ingest")
    assert request.attributes["http.route"] == "/documents/upload"
    assert request.attributes["http.response.status_code"] == "202"
    assert request.attributes["datalane.correlation_id"] == job.attributes["datalane.correlation_id"] == "watched-1"
    told = " ".join(value for span in watched.collector.spans for value in (span.name, *span.attributes.values()))
    assert "SELECT datalane." in told
    for secret in (PERSON["password"], PERSON["email"], "wall between tenants", "wrong wrong wrong"):
        assert secret not in told


def test_the_answer_says_its_trace(watched: Watched) -> None:
    request = watched.span("POST /documents/upload")
    assert watched.uploaded.headers["traceparent"] == f"00-{TRACE}-{request.id}-01"


def test_the_numbers_of_all_processes_are_told_in_one_place(watched: Watched) -> None:
    assert watched.numbers("datalane_http_request_duration_seconds_count", route="/documents/upload", status="202") == 1
    assert watched.numbers("datalane_job_attempts_total", kind="document.ingest", outcome="completed") == 1
    assert watched.numbers("datalane_job_run_seconds_count", kind="document.ingest") == 1
    assert watched.numbers("datalane_authentications_total", method="sign_up", outcome="success") == 1
    assert watched.numbers("datalane_authentications_total", method="password", outcome="unauthenticated") == 1
    assert watched.numbers("datalane_access_denied_total", denial="unauthenticated", target="POST /auth/sign-in") == 1


def test_a_tenants_credential_does_not_open_the_metrics(watched: Watched) -> None:
    assert (watched.refused.status_code, watched.refused.json()["code"]) == (401, "unauthenticated")


def test_no_number_tells_of_a_single_tenant(watched: Watched) -> None:
    assert re.findall(r"[0-9a-f]{8}-[0-9a-f]{4}|[0-9a-f]{32}|@", watched.metrics) == []


def test_every_line_of_every_process_keeps_the_schema(watched: Watched) -> None:
    schema = jsonschema_rs.validator_for(dict(LINE), validate_formats=True)
    lines = list(watched.lines())
    assert {line["service"] for line in lines} == {"api", "worker", "maintenance"}
    assert [line for line in lines if not schema.is_valid(line)] == []


def test_the_lines_of_a_request_name_its_trace(watched: Watched) -> None:
    (line,) = [
        line for line in watched.lines() if line.get("correlation_id") == "watched-1" and line["event"] == "request"
    ]
    request = watched.span("POST /documents/upload")
    assert (line["trace_id"], line["span_id"]) == (TRACE, request.id)
    assert line["workspace_id"] == watched.workspace_id


@pytest.mark.soak
def test_a_worker_of_its_own_serves_its_numbers_and_a_dead_collector_holds_nobody_up(tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{closed_port()}"
    recording = {"DATALANE_TELEMETRY__TRACES": "record", "OTEL_EXPORTER_OTLP_ENDPOINT": nowhere}
    lane = RunningLane(tmp_path, "--workers", "0", **recording)
    try:
        url = lane.event("ready")["url"]
        httpx.post(f"{url}/auth/sign-up", json=PERSON, headers={"traceparent": TRACEPARENT}, timeout=20)
        watching = {"DATALANE_TELEMETRY__METRICS_PORT": "0", "DATALANE_TELEMETRY__METRICS_TOKEN": TOKEN}
        with lone_worker(environment(tmp_path, **recording, **watching)) as worker:
            assert worker.stderr is not None
            said = next(line for line in map(json.loads, worker.stderr) if line["event"] == "metrics_served")
            assert httpx.get(said["url"]).status_code == 401
            metrics = httpx.get(said["url"], headers={"Authorization": f"Bearer {TOKEN}"})
            assert "datalane_jobs_rescued_total 0.0" in metrics.text
            worker.terminate()
            worker.communicate(timeout=20)
            assert worker.returncode == 0
        lane.signal(signal.SIGTERM)
        assert lane.event("stopped")
        assert "late" not in {said["event"] for said in lane.history}
    finally:
        lane.close()
        remove(tmp_path)


@contextmanager
def lone_worker(environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A worker without a supervisor, which would otherwise outlive a test that fails."""
    command = [sys.executable, "-m", "datalane.cli.main", "worker"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as worker:
        try:
            yield worker
        finally:
            worker.kill()


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port
