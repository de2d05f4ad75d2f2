"""Audit records: in the transaction that did it, and for good."""

from __future__ import annotations

import pytest
from tests.integration.engine.lab import Lab, Undone, ranked, undo

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.engine.audit import record
from datalane.errors import Forbidden
from datalane.kit.ids import SYSTEM_WORKSPACE

RECORDS = """
SELECT action, resource_type, resource_id, actor_id, correlation_id, before, after FROM datalane.audit_log
ORDER BY audit_id
"""


async def test_a_record_says_who_did_what_with_the_correlation_id(database: Database, context: Context) -> None:
    async with database.transaction(context) as tx:
        audit_id = await record(tx, "item.renamed", "item", "7", before={"name": "a"}, after={"name": "b"})
        rows = await tx.fetch(RECORDS)
    assert audit_id.version == 7
    assert [tuple(row) for row in rows] == [
        ("item.renamed", "item", "7", context.actor_id, context.correlation_id, {"name": "a"}, {"name": "b"})
    ]


async def test_a_record_goes_with_the_transaction_that_rolls_back(lab: Lab, context: Context) -> None:
    with pytest.raises(Undone):
        await undo(lab.database, context, lambda tx: record(tx, "item.renamed", "item", None))
    assert await lab.count(context, "datalane.audit_log") == 0


@pytest.mark.parametrize(
    "attempt",
    [
        "UPDATE datalane.audit_log SET action = 'forged'",
        "DELETE FROM datalane.audit_log",
        "INSERT INTO datalane.audit_log SELECT * FROM datalane.audit_log",
        "TRUNCATE datalane.audit_log",
    ],
)
async def test_not_even_the_owner_changes_the_record(lab: Lab, context: Context, attempt: str) -> None:
    async with lab.database.transaction(context) as tx:
        await record(tx, "item.renamed", "item", "7")
    with pytest.raises(Forbidden):
        async with lab.database.transaction(ranked(context, Role.OWNER)) as tx:
            await tx.execute(attempt)
    assert await lab.count(context, "datalane.audit_log") == 1


async def test_what_an_operator_does_to_a_job_is_on_record(lab: Lab, context: Context) -> None:
    (job_id,) = await lab.enqueue(context)
    await lab.operate(context, "cancel_jobs", [job_id])
    await lab.operate(context, "replay_jobs", [job_id])
    rows = await lab.rows(context, RECORDS)
    assert [(row["action"], row["resource_id"]) for row in rows] == [
        ("job.canceled", str(job_id)),
        ("job.replayed", str(job_id)),
    ]


async def test_what_holds_everywhere_is_on_record_in_the_reserved_workspace(lab: Lab, context: Context) -> None:
    who = {"actor": context.actor_id, "correlation": context.correlation_id}
    await lab.value("pause_kind_everywhere", kind="work", **who)
    await lab.value("resume_kind_everywhere", kind="work", **who)
    rows = await lab.rows(Context.system(SYSTEM_WORKSPACE), RECORDS)
    assert [tuple(row)[:5] for row in rows] == [
        ("jobs.paused", "job_kind", "work", context.actor_id, context.correlation_id),
        ("jobs.resumed", "job_kind", "work", context.actor_id, context.correlation_id),
    ]
    assert await lab.count(context, "datalane.audit_log") == 0, "no tenant's record, and no tenant sees it"
