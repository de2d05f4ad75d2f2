"""The example of spans: an agent of another framework tells a lane that runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from tests.acceptance.running_lane import RunningLane, environment, remove

SPANS = Path(__file__).parents[2] / "examples" / "spans"
ACCOUNT = {"email": "ada@example.com", "password": "long enough to be good", "name": "Ada"}


@contextmanager
def signed_in(home: Path) -> Iterator[httpx.Client]:
    lane = RunningLane(home)
    try:
        url = lane.event("ready")["url"]
        token = httpx.post(f"{url}/auth/sign-up", json=ACCOUNT).json()["token"]
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as client:
            yield client
    finally:
        lane.close()
        remove(home)


def test_an_agent_of_another_framework_has_a_run_in_the_lane(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with signed_in(home) as client:
        asked = {"name": "spans", "role": "member", "scopes": ["agent_run.record"]}
        key = client.post("/api-keys/create", json=asked).json()["key"]
        done = subprocess.run(
            [sys.executable, "agent.py", "Where is my order?"],
            cwd=SPANS,
            env=environment(
                home,
                OTEL_EXPORTER_OTLP_ENDPOINT=f"{str(client.base_url).rstrip('/')}/agents/otlp",
                OTEL_EXPORTER_OTLP_HEADERS=f"Authorization=Bearer%20{key}",
            ),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
        (listed,) = client.get("/agents/runs/list", params={"agent": "support"}).json()["data"]
        run = client.get(f"/agents/runs/{listed['run_id']}").json()
        thread = client.get(f"/agents/threads/{run['thread_id']}").json()
    assert (run["status"], run["source"], run["runtime"], run["cost"]) == ("completed", "spans", "support-desk", None)
    assert thread["external_id"] == "customer-17"
    assert [(step["kind"], step["name"]) for step in run["steps"]] == [("model", "chat test")] * 2
    assert (run["model_steps"], run["unmeasured_steps"], run["unpriced_steps"]) == (2, 0, 2)
    assert run["input_tokens"] == sum(step["input_tokens"] for step in run["steps"]) > 0
    (call,) = run["tool_calls"]
    assert (call["tool_name"], call["status"], call["rule_id"]) == ("look_up_order", "succeeded", "spans.observed")
    assert (call["arguments"], call["result"]) == ({"order": "a"}, "order a is on its way")
    assert done.stdout.strip() == run["output"] or run["output"] == {"look_up_order": call["result"]}
    assert run["steps"][0]["input"][-1]["parts"][0]["content"] == "Where is my order?"
