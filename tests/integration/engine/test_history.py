"""Random lives of jobs, judged by a checker that knows the promises and not the code.

The walk mixes everything that workers and operators do, with lost workers and time that passes. After it, every job
is drained and the checker reads the tables: nothing is lost or doubled, every history is a legal path that ends at the
status, and of each ordering key never two ran at once or out of turn.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from tests.conftest import a_context
from tests.integration.engine.lab import Claimed, Lab, after, walked

from datalane.contracts.context import Context

KEYS = (None, None, "a", "b")


@dataclass
class Walk:
    """What the walk itself saw, to be held against what the tables say."""

    lab: Lab
    contexts: list[Context]
    draw: random.Random
    moment: float = 0.0
    born: dict[UUID, Context] = field(default_factory=dict)
    held: dict[UUID, tuple[Claimed, float]] = field(default_factory=dict)
    claims: Counter[UUID] = field(default_factory=Counter)
    completed: list[UUID] = field(default_factory=list)

    async def step(self) -> None:
        self.moment += self.draw.choice((0, 0, 1, 5, 30))
        action = self.draw.choices(
            (self.enqueue, self.claim, self.complete, self.fail, self.release, self.beat, self.sweep, self.operate),
            weights=(4, 6, 5, 4, 1, 1, 1, 3),
        )[0]
        await action()

    async def enqueue(self) -> None:
        context = self.draw.choice(self.contexts)
        columns: dict[str, Any] = {"order_key": self.draw.choice(KEYS), "priority": self.draw.randint(-1, 1)}
        if self.draw.random() < 0.2:
            columns["run_at"] = after(self.moment + 20)
        ids = await self.lab.enqueue(
            context, self.draw.randint(1, 3), now=after(self.moment), max_attempts=2, **columns
        )
        self.born.update(dict.fromkeys(ids, context))

    async def claim(self) -> None:
        jobs = await self.lab.claim(batch=self.draw.randint(1, 4), now=after(self.moment), rescue_bound=2)
        keys = [(job.workspace_id, job.order_key) for job in jobs if job.order_key]
        assert len(keys) == len(set(keys)), "two of one ordering key in one batch"
        for job in jobs:
            if job.id in self.held:
                assert self.held[job.id][1] < self.moment, "claimed twice within its lease"
            for other, until in self.held.values():
                if job.order_key and (other.workspace_id, other.order_key) == (job.workspace_id, job.order_key):
                    assert until < self.moment or other.id == job.id, "two of one ordering key at once"
            self.held[job.id] = (job, self.moment + 60)
            self.claims[job.id] += 1

    def some(self) -> Claimed | None:
        return self.held.pop(self.draw.choice(list(self.held)))[0] if self.held else None

    async def complete(self) -> None:
        if job := self.some():
            self.completed += await self.lab.finish(job, now=after(self.moment))

    async def fail(self) -> None:
        if job := self.some():
            delay = self.draw.choice((None, timedelta(), timedelta(seconds=10)))
            await self.lab.fail(job, retry_after=delay, now=after(self.moment))

    async def release(self) -> None:
        if job := self.some():
            await self.lab.release(job, now=after(self.moment))

    async def beat(self) -> None:
        jobs = [job for job, _ in self.held.values()]
        for job_id in await self.lab.extend(*jobs, now=after(self.moment)):
            self.held[job_id] = (self.held[job_id][0], self.moment + 60)

    async def sweep(self) -> None:
        self.moment += self.draw.choice((0, 61))
        await self.lab.rescue(2, now=after(self.moment))

    async def operate(self) -> None:
        if not self.born:
            return
        job_id = self.draw.choice(list(self.born))
        context = self.born[job_id]
        verb = self.draw.choice(("cancel_jobs", "retry_jobs", "replay_jobs", "replay_jobs", "skip_job"))
        target = job_id if verb == "skip_job" else [job_id]
        rows = await self.lab.operate(context, verb, target, now=after(self.moment))
        if verb == "replay_jobs":
            self.born.update({row["job_id"]: context for row in rows})
        if verb == "cancel_jobs" and rows[0][0]:
            self.held.pop(job_id, None)

    async def drain(self) -> None:
        """Let everything that can still run complete."""
        self.held.clear()
        for _ in range(200):
            self.moment += 61
            await self.lab.rescue(2, now=after(self.moment))
            jobs = await self.lab.claim(now=after(self.moment), rescue_bound=2)
            self.claims.update(job.id for job in jobs)
            self.completed += await self.lab.finish(*jobs, now=after(self.moment))
            if not jobs and await self.lab.value("next_due") is None:
                return
        pytest.fail("the queue never came to rest")


async def check(walk: Walk) -> None:
    """The promises, read from the tables."""
    stored: dict[UUID, str] = {}
    for context in walk.contexts:
        rows = await walk.lab.rows(
            context,
            """SELECT id, status, order_key FROM datalane.jobs UNION ALL
               SELECT id, status, order_key FROM datalane.job_history""",
        )
        assert not set(stored) & {row["id"] for row in rows}
        stored.update({row["id"]: row["status"] for row in rows})
        stopped = {row["order_key"] for row in rows if row["status"] in {"failed", "dead_letter"}}
        for row in rows:
            waits = row["status"] in {"queued", "retrying"}
            assert not waits or row["order_key"] in stopped, "a job waits behind nothing"
            assert row["status"] != "processing"
    assert set(stored) == set(walk.born), "a job was lost, or came from nowhere"
    done = [job_id for job_id, status in stored.items() if status == "completed"]
    assert sorted(done) == sorted(walk.completed), "a job completed twice, or without its worker"
    for job_id, context in walk.born.items():
        path = walked(await walk.lab.changes(context, job_id))
        assert path[-1] == stored[job_id]
        assert path.count("processing") == walk.claims[job_id]


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(4, 64))])
async def test_random_lives_keep_every_promise(lab: Lab, seed: int) -> None:
    walk = Walk(lab, [a_context(), a_context()], random.Random(seed))
    for _ in range(120):
        await walk.step()
    await walk.drain()
    await check(walk)
