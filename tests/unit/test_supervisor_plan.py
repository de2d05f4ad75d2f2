"""The children of a lane as data: each gets the one login it needs, and secrets stay out of command lines."""

from __future__ import annotations

from pathlib import Path

from datalane.db.access import Prepared
from datalane.supervisor.child import ChildSpec
from datalane.supervisor.handshake import LISTEN_FD
from datalane.supervisor.plan import plan

KNOWN = Prepared(
    "postgresql://l:login-secret@/x", "postgresql://m:maintenance-secret@/x", "postgresql://o:op-secret@/x"
)
OURS = {
    "PATH": "/bin",
    "DATALANE_TELEMETRY__METRICS_TOKEN": "chosen",
    "DATALANE_TELEMETRY__METRICS_PORT": "9100",
    **KNOWN.as_environment(),
}


def a_plan(
    known: Prepared = KNOWN, workers: int = 2, app: str | None = None, master_key: str | None = None
) -> list[list[ChildSpec]]:
    return plan(
        known,
        home=Path("/h"),
        metrics=Path("/h/metrics"),
        metrics_token="metrics-secret",
        master_key=master_key,
        listener=7,
        gate=8,
        workers=workers,
        app=app,
        environment=OURS,
    )


def test_maintenance_starts_first_and_the_api_last() -> None:
    assert [[spec.name for spec in group] for group in a_plan()] == [["maintenance"], ["worker-1", "worker-2"], ["api"]]


def test_no_secret_is_in_a_command_line_or_in_a_printed_spec() -> None:
    for spec in (spec for group in a_plan(master_key="master-secret") for spec in group):
        assert "secret" not in " ".join(spec.argv)
        assert "secret" not in repr(spec)


def test_only_maintenance_gets_the_maintenance_login_and_nobody_the_operators() -> None:
    for spec in (spec for group in a_plan() for spec in group):
        held = " ".join(spec.environment.values())
        assert ("maintenance-secret" in held) is (spec.name == "maintenance")
        assert "op-secret" not in held


def test_workers_and_the_api_get_the_master_key_that_the_home_folder_keeps() -> None:
    for spec in (spec for group in a_plan(master_key="kept") for spec in group):
        assert spec.environment.get("DATALANE_MASTER_KEY") == (None if spec.name == "maintenance" else "kept")


def test_without_the_maintenance_login_there_is_no_maintenance() -> None:
    groups = a_plan(Prepared(KNOWN.database_url, "", ""), workers=0)
    assert [[spec.name for spec in group] for group in groups] == [["api"]]


def test_the_users_lane_reaches_workers_and_api() -> None:
    named = {spec.name: spec for group in a_plan(app="shop.lane:lane") for spec in group}
    assert named["worker-1"].argv[-2:] == ("--app", "shop.lane:lane")
    assert named["api"].argv[-2:] == ("--app", "shop.lane:lane")
    assert named["api"].handles[LISTEN_FD] == 7


def test_all_count_in_one_folder_which_the_api_alone_tells() -> None:
    for spec in (spec for group in a_plan() for spec in group):
        assert spec.environment["PROMETHEUS_MULTIPROC_DIR"] == "/h/metrics"
        assert ("DATALANE_TELEMETRY__METRICS_TOKEN" in spec.environment) is (spec.name == "api")
        assert "DATALANE_TELEMETRY__METRICS_PORT" not in spec.environment
