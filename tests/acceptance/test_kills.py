"""kill -9 at random moments while documents come in: nothing is lost, nothing is doubled, nobody has to help.

An init system starts `datalane up` again when it ends; everything else the lane does by itself. The seed in a test's
name chooses the documents, the victims and the moments.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

import psycopg
import pytest
from tests.acceptance.ingestion_check import count_jobs, door, find_faults
from tests.acceptance.kept_lane import KeptLane, sign_up
from tests.acceptance.running_lane import eventually, remove
from tests.acceptance.uploading import Uploading, write_papers

SERVICES = ("worker", "api", "supervisor", "postgres", "backend")
ALL = (*SERVICES, "maintenance", "extraction")
PATIENCE = 90.0


class Progress:
    """What is known of a workspace's jobs from outside, looked at all the time in a thread."""

    def __init__(self, database_url: Callable[[], str], workspace_id: str) -> None:
        self.rested = 0
        self.left = 0
        self._database_url = database_url
        self._workspace_id = workspace_id
        self._leaving = threading.Event()
        self._looking = threading.Thread(target=self._look, daemon=True)
        self._looking.start()

    def stop(self) -> None:
        self._leaving.set()
        self._looking.join()

    def _look(self) -> None:
        while not self._leaving.wait(0.03):
            try:
                with door(self._database_url(), self._workspace_id) as connection:
                    self.rested, self.left = count_jobs(connection)
            except (psycopg.OperationalError, OSError):
                continue


@dataclass
class Siege:
    """What was killed when, in the order of it, for the message of a failure."""

    lane: KeptLane
    uploading: Uploading
    progress: Progress
    killed: list[str] = field(default_factory=list)

    def has_done(self, work: int) -> bool:
        return len(self.uploading.acknowledged) + self.progress.rested >= work

    def kill(self, kind: str, chosen: Random) -> None:
        done = len(self.uploading.acknowledged), self.progress.rested
        pid = self.lane.kill(kind, chosen)
        self.killed.append(f"{kind} {pid} after {done[0]} uploads and {done[1]} jobs")

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        came = eventually(lambda: bool(self.uploading.wrong) or condition(), PATIENCE)
        assert self.uploading.wrong == [], f"no client should get this: {self}\n{self.lane.troubles()}"
        assert came, f"{what} did not come in {PATIENCE} s: {self}\n{self.lane.troubles()}"

    def __str__(self) -> str:
        return f"killed {', '.join(self.killed)}; {self.progress.left} jobs left; asked again {self.uploading.refused}"


@pytest.fixture
def lane_home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="dlk"))
    folder.chmod(0o755)
    yield folder / "home"
    remove(folder / "home")
    shutil.rmtree(folder, ignore_errors=True)


def moments(chosen: Random, kills: int, work: int) -> list[int]:
    """Amounts of work done, rising, at which something is killed; all before the end is near."""
    return sorted(chosen.sample(range(2, work * 9 // 10), kills))


def survive(home: Path, seed: int, victims: list[str], papers: int) -> None:
    chosen = Random(seed)
    to_upload = write_papers(chosen, papers)
    with KeptLane(home, DATALANE_JOBS__LEASE="PT2S", DATALANE_JOBS__HEARTBEAT="PT0.5S") as lane:
        account = sign_up(lane.url)
        progress = Progress(lambda: lane.database_url, account.workspace_id)
        uploading = Uploading(lane.url, account.token, to_upload)
        siege = Siege(lane, uploading, progress)
        try:
            for victim, moment in zip(victims, moments(chosen, len(victims), 2 * papers), strict=True):
                siege.wait_for(partial(siege.has_done, moment), "the next moment")
                siege.kill(victim, chosen)
            siege.wait_for(lambda: uploading.done, "all uploads")
            siege.wait_for(lambda: progress.left == 0 and progress.rested >= papers, "all jobs")
            uploading.ask_again()
        finally:
            uploading.stop()
            progress.stop()
            print(f"seed {seed}: {siege}")
        uploads = list(uploading.acknowledged.values())
        assert len(uploads) == papers
        with door(lane.database_url, account.workspace_id) as connection:
            faults = find_faults(connection, uploads, home / "files")
        assert faults == [], f"{siege}"
    # A start whose database is killed meanwhile may end and be tried again; nothing that was left behind may stop one.
    others = [said for said in lane.refusals if said.get("error", {}).get("code") != "database_unavailable"]
    assert others == [], f"`up` ended by itself: {siege}"
    assert eventually(lambda: not lane.remains()), f"{lane.remains()} outlived the lane"


@pytest.mark.parametrize("seed", [20250611])
def test_ingestion_survives_the_death_of_each_part(lane_home: Path, seed: int) -> None:
    victims = list(SERVICES)
    Random(seed).shuffle(victims)
    survive(lane_home, seed, victims, papers=150)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 11))
def test_ingestion_survives_ten_deaths(lane_home: Path, seed: int) -> None:
    survive(lane_home, seed, Random(seed).choices(ALL, k=10), papers=300)
