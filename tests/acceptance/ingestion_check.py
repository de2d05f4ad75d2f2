"""An independent judge of what ingestion left behind: plain SQL through the tenant door, and the uploaded bytes.

It shares nothing with the code that ingests but the table of legal transitions.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psycopg
from psycopg.rows import namedtuple_row, tuple_row
from tests.acceptance.uploading import Acknowledged

from datalane.engine.states import JOB

_SYSTEM = "00000000-0000-0000-0000-000000000000"
_FAULTS = Path(__file__).with_name("ingestion_faults.sql")


@contextmanager
def door(url: str, workspace_id: str) -> Iterator[psycopg.Connection[Any]]:
    """One read-only transaction with one snapshot, opened by the documented statements."""
    with psycopg.connect(url, autocommit=True, row_factory=namedtuple_row) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        step_in(connection, workspace_id)
        yield connection
        connection.execute("COMMIT")


def step_in(connection: psycopg.Connection[Any], workspace_id: str) -> None:
    """Through the tenant door, in the transaction that is open."""
    statements = (
        f"SET LOCAL ROLE datalane_app; SET LOCAL app.workspace_id = '{workspace_id}'; "
        f"SET LOCAL app.actor_id = '{_SYSTEM}'; SET LOCAL app.actor_role = 'viewer'; "
        "SET LOCAL app.correlation_id = 'check'"
    )
    connection.execute(statements.encode())


def count_jobs(connection: psycopg.Connection[Any]) -> tuple[int, int]:
    """Jobs at rest (completed, failed or dead) and jobs with work left."""
    row = connection.execute(
        "SELECT (SELECT count(*) FROM datalane.job_history WHERE workspace_id = app.workspace_id())"
        "     + count(*) FILTER (WHERE status IN ('failed', 'dead_letter')),"
        "       count(*) FILTER (WHERE status NOT IN ('failed', 'dead_letter'))"
        " FROM datalane.jobs WHERE workspace_id = app.workspace_id()"
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def find_faults(connection: psycopg.Connection[Any], uploads: Sequence[Acknowledged], files: Path) -> list[str]:
    """Everything that is not as it must be once all work is done; empty when nothing was lost or doubled."""
    return [
        *_rows_that_break_a_rule(connection),
        *_uploads_that_are_not_there(connection, uploads),
        *_texts_that_differ(connection, uploads),
        *_jobs_that_ended_wrongly(connection, uploads),
        *_illegal_paths(connection),
        *_originals_that_differ(connection, uploads, files),
    ]


def _rows_that_break_a_rule(connection: psycopg.Connection[Any]) -> Iterator[str]:
    """Each statement of the file selects what breaks the rule of its first line."""
    for statement in _FAULTS.read_text().split(";\n"):
        if not statement.strip():
            continue
        rule = statement.strip().splitlines()[0].removeprefix("-- ")
        rows = connection.cursor(row_factory=tuple_row).execute(statement.encode()).fetchall()
        for row in rows[:5]:
            yield f"not so: {rule} {row}"


def _uploads_that_are_not_there(connection: psycopg.Connection[Any], uploads: Sequence[Acknowledged]) -> Iterator[str]:
    rows = connection.execute(
        "SELECT v.version_id::text, v.document_id::text, v.ordinal, v.job_id::text,"
        "       encode(v.content_sha256, 'hex') AS digest, d.source_uri, d.latest_ordinal,"
        "       d.current_version_id::text AS current"
        " FROM datalane.document_versions v"
        " JOIN datalane.documents d ON d.workspace_id = v.workspace_id AND d.document_id = v.document_id"
        " WHERE v.workspace_id = app.workspace_id()"
    ).fetchall()
    found = {row.version_id: row for row in rows}
    for upload in uploads:
        row = found.pop(upload.version_id, None)
        if row is None:
            yield f"{upload.paper.name}: its version {upload.version_id} is not there"
            continue
        if (row.document_id, row.job_id) != (upload.document_id, upload.job_id):
            yield f"{upload.paper.name}: answered as {upload}, stored as {row}"
        if row.digest != hashlib.sha256(upload.paper.data).hexdigest():
            yield f"{upload.paper.name}: stored with other bytes"
        is_newest = row.ordinal == row.latest_ordinal
        should_be_current = is_newest and upload.paper.error_class is None
        if (row.current == row.version_id) != should_be_current:
            yield f"{upload.paper.name}: current is {row.current}, version {row.version_id} is {row.ordinal}"
    for row in found.values():
        yield f"nobody uploaded {row}"
    expected = {upload.document_id for upload in uploads}
    documents = "SELECT document_id::text FROM datalane.documents WHERE workspace_id = app.workspace_id()"
    for row in connection.execute(documents):
        if row.document_id not in expected:
            yield f"nobody uploaded the document {row.document_id}"


def _texts_that_differ(connection: psycopg.Connection[Any], uploads: Sequence[Acknowledged]) -> Iterator[str]:
    chunks: dict[str, list[Any]] = defaultdict(list)
    for row in connection.execute(
        "SELECT version_id::text, ordinal, start_offset, end_offset, start_byte, end_byte, text FROM datalane.chunks"
        " WHERE workspace_id = app.workspace_id() ORDER BY version_id, ordinal"
    ):
        chunks[row.version_id].append(row)
    for upload in uploads:
        own = chunks.pop(upload.version_id, [])
        if upload.paper.error_class is not None:
            if own:
                yield f"{upload.paper.name}: failed, and has chunks"
            continue
        text = upload.paper.data.decode().replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")
        yield from (f"{upload.paper.name}: {fault}" for fault in _faults_of_chunks(text, own))
    if chunks:
        yield f"chunks of unknown versions: {list(chunks)}"


def _faults_of_chunks(text: str, chunks: Sequence[Any]) -> Iterator[str]:
    place, encoded = 0, text.encode()
    for expected, chunk in enumerate(chunks):
        if chunk.ordinal != expected:
            yield f"chunk {chunk.ordinal} stands where {expected} belongs"
        if text[chunk.start_offset : chunk.end_offset] != chunk.text:
            yield f"chunk {chunk.ordinal} is not its place in the text"
        if encoded[chunk.start_byte : chunk.end_byte].decode() != chunk.text:
            yield f"chunk {chunk.ordinal} is not its bytes in the text"
        if chunk.start_offset < place or text[place : chunk.start_offset].strip():
            yield f"chunk {chunk.ordinal} overlaps or leaves text out before it"
        place = chunk.end_offset
    if text[place:].strip():
        yield f"the text after {place} is in no chunk"


def _jobs_that_ended_wrongly(connection: psycopg.Connection[Any], uploads: Sequence[Acknowledged]) -> Iterator[str]:
    ends: dict[str, list[tuple[str, str | None]]] = defaultdict(list)
    for row in connection.execute(
        "SELECT id::text, status, NULL AS error_class FROM datalane.job_history WHERE workspace_id = app.workspace_id()"
        " UNION ALL"
        " SELECT id::text, status, last_error_class FROM datalane.jobs WHERE workspace_id = app.workspace_id()"
    ):
        ends[row.id].append((row.status, row.error_class))
    for upload in uploads:
        expected = ("failed", upload.paper.error_class) if upload.paper.error_class else ("completed", None)
        found = ends.pop(upload.job_id or "", [])
        if found != [expected]:
            yield f"{upload.paper.name}: its job {upload.job_id} ended as {found}, not as {expected}"
    for job_id, found in ends.items():
        yield f"job {job_id} is nobody's: {found}"


def _illegal_paths(connection: psycopg.Connection[Any]) -> Iterator[str]:
    paths: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in connection.execute(
        "SELECT job_id::text, from_status, to_status FROM datalane.job_changes"
        " WHERE workspace_id = app.workspace_id() ORDER BY job_id, claim, step"
    ):
        paths[row.job_id].append((row.from_status, row.to_status))
    for job_id, steps in paths.items():
        state = JOB.initial
        for source, target in steps:
            if source != state or target not in JOB.transitions[source]:
                yield f"job {job_id} took an illegal path: {steps}"
                break
            state = target
        if state not in {"completed", "failed"}:
            yield f"job {job_id} came to rest as {state}: {steps}"


def _originals_that_differ(
    connection: psycopg.Connection[Any], uploads: Sequence[Acknowledged], files: Path
) -> Iterator[str]:
    keys = {
        row.version_id: row.file_key
        for row in connection.execute(
            "SELECT version_id::text, file_key FROM datalane.document_versions WHERE workspace_id = app.workspace_id()"
        )
    }
    for upload in uploads:
        path = files / unquote(keys.get(upload.version_id, "?"))
        if not path.is_file() or path.read_bytes() != upload.paper.data:
            yield f"{upload.paper.name}: its original is not as uploaded"
