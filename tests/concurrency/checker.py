"""The judge of races and kills: it reads the tables and knows nothing of how they came about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from uuid import UUID

import asyncpg
from tests.integration.engine.lab import Step, eventually, walked

from datalane.contracts.context import Context
from datalane.db.database import Database

UNFINISHED = "SELECT count(*) FROM datalane.jobs WHERE status IN ('queued', 'processing', 'retrying')"


async def at_rest(database: Database, contexts: Sequence[Context], patience: float = 60) -> None:
    """Wait until no job is left to do."""

    async def nothing_left() -> bool:
        for context in contexts:
            async with database.transaction(context) as tx:
                if await tx.fetchval(UNFINISHED):
                    return False
        return True

    await eventually(nothing_left, patience)


async def check_exactly_once(database: Database, context: Context, published: Sequence[str]) -> None:
    """Every committed event is there once, and each of its handlers left its effect exactly once, in order where asked.

    `published` are the source event ids whose publish was told to be committed.
    """
    async with database.transaction(context) as tx:
        events = await tx.fetch(
            "SELECT event_id::text AS id, source_event_id, subject_id FROM datalane.events "
            "WHERE event_type = 'thing.happened' ORDER BY event_id"
        )
        left = await tx.fetch("SELECT event_id, payload FROM datalane.events WHERE event_type = 'effect.left'")
        jobs = await tx.fetch(
            "SELECT id::text AS id, kind, status, args ->> 'event_id' AS event_id, order_key, order_seq, "
            "completed_at FROM datalane.job_history"
        )
        unfinished = await tx.fetch("SELECT kind, status, last_error_class FROM datalane.jobs")
    assert [dict(row) for row in unfinished] == []
    assert sorted(row["source_event_id"] for row in events) == sorted(published), (
        "an event was lost, doubled or invented"
    )
    effects = Counter(row["payload"]["job"] for row in left)
    assert {job: count for job, count in effects.items() if count != 1} == {}, "an effect was left twice"
    assert set(effects) == {row["id"] for row in jobs}, "a job without its effect, or an effect without its job"
    wanted = Counter((row["id"], kind) for row in events for kind in ("on_thing", "in_order"))
    assert Counter((row["event_id"], row["kind"]) for row in jobs if row["event_id"]) == wanted
    _check_order(jobs, {row["payload"]["job"]: row["event_id"] for row in left})


def _check_order(jobs: Sequence[asyncpg.Record], effects: Mapping[str, UUID]) -> None:
    """Effects carry time-ordered ids: along each ordering key they must come in the order of the line."""
    lines: dict[str, list[asyncpg.Record]] = {}
    for job in jobs:
        if job["order_key"]:
            lines.setdefault(job["order_key"], []).append(job)
    for line in lines.values():
        line.sort(key=lambda job: job["order_seq"])
        assert [job["order_seq"] for job in line] == list(range(len(line)))
        for before, then in pairwise(line):
            assert effects[before["id"]] < effects[then["id"]], "an effect came out of turn"
            assert before["completed_at"] <= then["completed_at"]


async def check_histories(database: Database, context: Context) -> None:
    """Every job's history is a legal path that ends at its status."""
    async with database.transaction(context) as tx:
        rows = await tx.fetch(
            "SELECT job_id, from_status, to_status FROM datalane.job_changes ORDER BY job_id, claim, step"
        )
        statuses = dict(
            await tx.fetch("SELECT id, status FROM datalane.jobs UNION ALL SELECT id, status FROM datalane.job_history")
        )
    by_job: dict[object, list[Step]] = {}
    for row in rows:
        by_job.setdefault(row["job_id"], []).append(Step(row["from_status"], row["to_status"]))
    for job_id, steps in by_job.items():
        assert walked(steps)[-1] == statuses[job_id]
