"""The verifier finds what somebody above all privileges did to the log, and says where; erasing is no fault."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID

import pytest
from tests.integration.engine.lab import ranked
from tests.integration.engine.sealing import SealBench

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.db.embedded import EmbeddedPostgres
from datalane.db.provision import Prepared
from datalane.engine.audit import erase_details, record
from datalane.engine.audit_verify import Fault, Head, get_head

TABLES = ("audit_log", "audit_details", "audit_seals")
REHASH = """
UPDATE datalane.audit_seals SET seal_hash = datalane.audit_seal_hash(
    workspace_id, seal_no, first_position, last_position, last_xid, last_audit_id, manifest, previous_hash, sealed_at)
WHERE seal_no = {}
"""


@pytest.fixture
async def bench(database: Database, urls: Prepared, cluster: EmbeddedPostgres) -> AsyncIterator[SealBench]:
    async with SealBench.opened(database, urls, cluster) as opened:
        yield opened


@asynccontextmanager
async def afterwards_undone(bench: SealBench) -> AsyncIterator[None]:
    """What is done to the log inside is undone."""
    for table in TABLES:
        await bench.superuser.execute(f"CREATE TEMP TABLE kept_{table} AS SELECT * FROM datalane.{table}")
    yield
    for table in TABLES:
        await bench.superuser.execute(
            f"TRUNCATE datalane.{table}; INSERT INTO datalane.{table} SELECT * FROM kept_{table}; "
            f"DROP TABLE kept_{table}"
        )


async def a_chain(bench: SealBench, context: Context) -> list[UUID]:
    """30 rows with details in three seals, and two rows that wait. Positions count from 1."""
    made = await bench.record(context, 30)
    await bench.seal_all(context, rows_a_seal=10)
    return made + await bench.record(context, 2)


async def the_head(bench: SealBench, context: Context) -> Head:
    async with bench.database.transaction(context) as tx:
        head = await get_head(tx)
    assert head is not None
    return head


ROW = "audit_id = '{row}'"
TAMPERING: list[tuple[str, str, int | None, str]] = [
    *(
        (
            f"UPDATE datalane.audit_log SET {change} WHERE {ROW}",
            "row_changed",
            2,
            r"row 15 \({row}\) of seal 2 was changed",
        )
        for change in (
            "occurred_at = occurred_at + interval '1 microsecond'",
            "actor_id = app.uuid7()",
            "action = 'forged'",
            "resource_type = 'forged'",
            "resource_id = NULL",
            "correlation_id = 'forged'",
            "recorded_xid = 3",
            "details_digest = NULL",
            "details_digest = sha256('forged')",
        )
    ),
    (f"DELETE FROM datalane.audit_log WHERE {ROW}", "row_removed", 2, r"row 15 \({row}\) of seal 2 was removed"),
    (
        "INSERT INTO datalane.audit_log (workspace_id, audit_id, occurred_at, actor_id, action, resource_type, "
        "correlation_id, recorded_xid) SELECT workspace_id, '{new}', occurred_at, actor_id, 'forged', 'thing', "
        f"correlation_id, recorded_xid FROM datalane.audit_log WHERE {ROW}",
        "row_inserted",
        2,
        "row {new} was inserted into the past: it stands among the rows of seal 2",
    ),
    (
        "UPDATE datalane.audit_log a SET recorded_xid = b.recorded_xid FROM datalane.audit_log b "
        "WHERE a.audit_id IN ('{row}', '{next}') AND b.audit_id IN ('{row}', '{next}') AND a.audit_id <> b.audit_id",
        "row_moved",
        2,
        r"row 1[56] \(.*\) of seal 2 was moved to another place in the order",
    ),
    (
        "UPDATE datalane.audit_log SET workspace_id = app.uuid7() WHERE " + ROW,
        "row_removed",
        2,
        r"row 15 \({row}\) of seal 2 was removed",
    ),
    *(
        (f"UPDATE datalane.audit_seals SET {change} WHERE seal_no = 2", "seal_changed", 2, "seal 2 was changed")
        for change in (
            "sealed_at = sealed_at + interval '1 microsecond'",
            "last_xid = last_xid + 1",
            "last_audit_id = app.uuid7()",
            "manifest = overlay(manifest PLACING 'x' FROM 20)",
            "first_position = first_position - 1, last_position = last_position - 1",
            "seal_hash = sha256('forged')",
        )
    ),
    ("UPDATE datalane.audit_seals SET previous_hash = sha256('') WHERE seal_no = 2", "seal_changed", 2, "seal 2 was"),
    ("DELETE FROM datalane.audit_seals WHERE seal_no = 2", "seal_removed", 2, "seal 2 was removed"),
    ("DELETE FROM datalane.audit_seals WHERE seal_no < 3", "seal_removed", 1, "seals 1 to 2 were removed"),
    (
        f"UPDATE datalane.audit_details SET after = '{{{{\"number\": 99}}}}' WHERE {ROW}",
        "details_changed",
        2,
        r"the details of row 15 \({row}\) of seal 2 were changed",
    ),
    (f"DELETE FROM datalane.audit_details WHERE {ROW}", "details_removed", 2, "no record says erased"),
    (
        "UPDATE datalane.audit_details SET salt = app.uuid7() WHERE audit_id = '{last}'",
        "details_changed",
        None,
        "the details of row {last}, not sealed yet, were changed",
    ),
]


async def test_what_was_tampered_with_is_found_and_named(bench: SealBench, context: Context) -> None:
    rows = await a_chain(bench, context)
    names = {"row": rows[14], "next": rows[15], "last": rows[-1], "new": UUID(int=rows[14].int + 1)}
    for statement, kind, seal_no, words in TAMPERING:
        async with afterwards_undone(bench):
            await bench.tamper(statement.format(**names))
            faults = (await bench.verify(context)).faults
        assert {(one.kind, one.seal_no) for one in faults} == {(kind, seal_no)}, statement
        for fault in faults:
            assert re.search(words.format(**names), fault.message), fault.message
    done = await bench.verify(context)
    assert (done.seals, done.rows, done.waiting, done.faults) == (3, 30, 2, [])


async def test_a_seal_written_anew_with_its_hash_breaks_the_chain(bench: SealBench, context: Context) -> None:
    rows = await a_chain(bench, context)
    async with afterwards_undone(bench):
        await bench.tamper("UPDATE datalane.audit_log SET action = 'forged' WHERE audit_id = $1", rows[14])
        await bench.tamper(
            "UPDATE datalane.audit_seals s SET manifest = (SELECT string_agg(uuid_send(a.audit_id) || "
            "datalane.audit_row_hash(a), ''::bytea ORDER BY a.recorded_xid, a.audit_id) FROM datalane.audit_log a "
            "WHERE strpos(encode(s.manifest, 'hex'), encode(uuid_send(a.audit_id), 'hex')) > 0) WHERE seal_no = 2"
        )
        await bench.tamper(REHASH.format(2))
        assert [(one.kind, one.message) for one in (await bench.verify(context)).faults] == [
            ("chain_broken", "seal 3 does not continue seal 2: one of them was written anew")
        ]


async def test_a_chain_cut_or_written_anew_at_its_end_is_told_by_a_head_that_was_kept(
    bench: SealBench, context: Context
) -> None:
    await a_chain(bench, context)
    kept = await the_head(bench, context)
    assert (kept.seal_no, kept.rows) == (3, 30)
    async with afterwards_undone(bench):
        await bench.tamper("DELETE FROM datalane.audit_seals WHERE seal_no = 3")
        assert (await bench.verify(context)).faults == []
        (fault,) = (await bench.verify(context, kept)).faults
        assert fault == Fault(
            "seals_cut_off",
            "the chain ends at seal 2 with 20 rows; the kept head is seal 3 with 30 rows, "
            "so the newest seals were removed",
            3,
        )
        await bench.seal_all(context, rows_a_seal=10)
        (fault,) = (await bench.verify(context, kept)).faults
        assert (fault.kind, fault.message) == ("head_differs", "seal 3 is not the one whose hash was kept")
    async with afterwards_undone(bench):
        await bench.superuser.execute("TRUNCATE datalane.audit_log, datalane.audit_details, datalane.audit_seals")
        assert [one.kind for one in (await bench.verify(context, kept)).faults] == ["seals_cut_off"]
    await bench.seal_all(context)
    assert (await bench.verify(context, kept)).faults == []
    assert (await bench.verify(context, replace(kept, seal_hash="00"))).faults[0].kind == "head_differs"


async def test_erased_details_are_no_fault_sealed_or_not(bench: SealBench, context: Context) -> None:
    rows = await a_chain(bench, context)
    async with bench.database.transaction(ranked(context, Role.OWNER)) as tx:
        assert await erase_details(tx, [rows[14], rows[-1]], "asked for it") == 2
    for waiting in (3, 0):
        done = await bench.verify(context)
        assert (done.waiting, done.details_erased, done.faults) == (waiting, 2, [])
        await bench.seal_all(context)
    async with afterwards_undone(bench):
        await bench.tamper("DELETE FROM datalane.audit_details WHERE audit_id = $1", rows[3])
        assert [(one.kind, one.position) for one in (await bench.verify(context)).faults] == [("details_removed", 4)]
    async with afterwards_undone(bench):
        await bench.tamper("UPDATE datalane.audit_details SET after = '{}' WHERE after->>'reason' = 'asked for it'")
        faults = {(one.kind, one.audit_id) for one in (await bench.verify(context)).faults}
        assert {("details_removed", rows[14]), ("details_removed", rows[-1])} < faults


async def test_details_that_a_row_never_had_are_found(bench: SealBench, context: Context) -> None:
    async with bench.database.transaction(context) as tx:
        bare = await record(tx, "thing.seen", "thing", "1")
    await bench.seal_all(context)
    await bench.tamper(
        "INSERT INTO datalane.audit_details (workspace_id, audit_id, salt, after) VALUES ($1, $2, app.uuid7(), '{}')",
        *(context.workspace_id, bare),
    )
    assert [one.kind for one in (await bench.verify(context)).faults] == ["details_added"]


async def test_the_database_and_the_verifier_agree_on_every_kind_of_value(bench: SealBench, context: Context) -> None:
    values: list[object] = [None, "", "Zoë 🚢", 0, -1.5, 1e30, True, [], {}, {"é\n": ["\\", '"', None]}, "x" * 100_000]
    async with bench.database.transaction(context) as tx:
        for value in values:
            await record(tx, "thing.dönE", "", "" if value else None, before=value, after=value)
    await bench.seal_all(context)
    done = await bench.verify(context)
    assert (done.rows, done.faults) == (len(values), [])


async def test_an_empty_log_is_whole(bench: SealBench, context: Context) -> None:
    done = await bench.verify(context)
    assert (done.seals, done.rows, done.waiting, done.faults) == (0, 0, 0, [])
