"""The judge of the kills is judged: each damage that a kill could do is one that it finds."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import psycopg
import pytest
from psycopg.rows import namedtuple_row
from tests.acceptance.ingestion_check import count_jobs, door, find_faults, step_in
from tests.acceptance.kept_lane import KeptLane, sign_up
from tests.acceptance.running_lane import eventually, remove
from tests.acceptance.uploading import Acknowledged, Uploading, write_papers

from datalane.db.embedded import EmbeddedPostgres

CHUNK = "(SELECT chunk_id FROM datalane.chunk_vectors ORDER BY chunk_id LIMIT 1)"
JOB = "(SELECT id FROM datalane.job_history ORDER BY id LIMIT 1)"
EVENT = "(SELECT event_id FROM datalane.events WHERE event_type = 'document.ingested' ORDER BY event_id LIMIT 1)"
DAMAGES = {
    "a lost chunk": f"DELETE FROM datalane.chunks WHERE chunk_id = {CHUNK}",
    "a chunk that is another text": f"UPDATE datalane.chunks SET text = reverse(text), end_byte = start_byte + "
    f"octet_length(reverse(text)) WHERE chunk_id = {CHUNK}",
    "a chunk twice": "INSERT INTO datalane.chunks (workspace_id, chunk_id, document_id, version_id, ordinal, "
    "start_offset, end_offset, start_byte, end_byte, page, text) SELECT workspace_id, app.uuid7(), document_id, "
    "version_id, 1000, start_offset, end_offset, start_byte, end_byte, page, text FROM datalane.chunks "
    f"WHERE chunk_id = {CHUNK}",
    "a lost vector": f"DELETE FROM datalane.chunk_vectors WHERE chunk_id = {CHUNK}",
    "a vector twice": "INSERT INTO datalane.chunk_vectors SELECT workspace_id, 'other/1', chunk_id, embedding "
    f"FROM datalane.chunk_vectors WHERE chunk_id = {CHUNK}",
    "a lost search entry": f"DELETE FROM datalane.search_entries WHERE entry_id = {CHUNK}",
    "lost postings": f"DELETE FROM datalane.search_postings WHERE entry_id = {CHUNK}",
    "postings of nothing": f"UPDATE datalane.search_postings SET entry_id = app.uuid7() WHERE entry_id = {CHUNK}",
    "a wrong frequency": f"UPDATE datalane.search_postings SET tf = tf + 1 WHERE entry_id = {CHUNK}",
    "totals that drifted": "UPDATE datalane.search_totals SET entries = entries + 1 "
    "WHERE part = (SELECT min(part) FROM datalane.search_totals)",
    "an event that was not told": f"DELETE FROM datalane.events WHERE event_id = {EVENT}",
    "an event without its record": f"DELETE FROM datalane.event_ingestion WHERE event_id = {EVENT}",
    "a lost job": f"DELETE FROM datalane.job_history WHERE id = {JOB}",
    "a job that never ended": "UPDATE datalane.jobs SET status = 'retrying', shelf = 'ready'",
    "a job that ended and runs": "INSERT INTO datalane.jobs (workspace_id, id, kind, queued_at, next_retry_at, "
    "correlation_id, actor_id) SELECT workspace_id, id, kind, queued_at, queued_at, correlation_id, actor_id "
    f"FROM datalane.job_history WHERE id = {JOB}",
    "a job that ended twice": "INSERT INTO datalane.job_transitions SELECT workspace_id, id, app.uuid7(), lease_token, "
    f"completed_at, 'processing', 'retrying', 1 FROM datalane.job_history WHERE id = {JOB}",
    "a lost document": "DELETE FROM datalane.documents WHERE document_id = "
    "(SELECT document_id FROM datalane.documents WHERE current_version_id IS NOT NULL LIMIT 1)",
    "a document that readers do not see": "UPDATE datalane.documents SET current_version_id = NULL",
    "a document that nobody uploaded": "INSERT INTO datalane.documents (workspace_id, document_id, "
    "created_by_actor_id) SELECT workspace_id, app.uuid7(), created_by_actor_id FROM datalane.documents LIMIT 1",
}


@dataclass
class Ingested:
    """What came in undisturbed, and how the database is reached."""

    home: Path
    database_url: str
    workspace_id: str
    uploads: list[Acknowledged]

    def faults(self, damage: str = "SELECT") -> list[str]:
        """What the judge says after `damage`, which no role may do and which is undone again."""
        superuser = EmbeddedPostgres(self.home).url("datalane")
        with psycopg.connect(superuser, autocommit=True, row_factory=namedtuple_row) as connection:
            connection.execute("BEGIN")
            connection.execute(damage.encode())
            step_in(connection, self.workspace_id)
            found = find_faults(connection, self.uploads, self.home / "files")
            connection.execute("ROLLBACK")
            return found


@pytest.fixture(scope="module")
def ingested() -> Iterator[Ingested]:
    folder = Path(tempfile.mkdtemp(prefix="dli"))
    folder.chmod(0o755)
    home, papers = folder / "home", write_papers(Random(7), 30)
    with KeptLane(home) as lane:
        account = sign_up(lane.url)
        uploading = Uploading(lane.url, account.token, papers)

        def all_rest() -> bool:
            with door(lane.database_url, account.workspace_id) as connection:
                return count_jobs(connection) == (len(papers), 0)

        assert eventually(all_rest, 60), uploading.wrong
        yield Ingested(home, lane.database_url, account.workspace_id, list(uploading.acknowledged.values()))
    remove(home)
    shutil.rmtree(folder)


def test_an_undisturbed_ingestion_has_no_fault(ingested: Ingested) -> None:
    assert ingested.faults() == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found(ingested: Ingested, damage: str) -> None:
    assert ingested.faults(DAMAGES[damage])
