"""The gauges of the queue say what the jobs are doing now, and nothing of whose they are."""

from __future__ import annotations

from datetime import timedelta

import asyncpg
import pytest
from prometheus_client import REGISTRY
from tests.integration.engine.lab import Lab

from datalane.contracts.context import Context
from datalane.db.provision import Prepared
from datalane.engine.metrics import QueueGauges
from datalane.kit.clock import utc_now

HOUR = timedelta(hours=1)


def jobs(kind: str, status: str) -> float | None:
    return REGISTRY.get_sample_value("datalane_jobs", {"kind": kind, "status": status})


def age(kind: str) -> float | None:
    return REGISTRY.get_sample_value("datalane_job_queue_age_seconds", {"kind": kind})


async def test_gauges_follow_the_queue_down_to_nothing(
    lab: Lab, context: Context, other_context: Context, urls: Prepared
) -> None:
    now, gauges = utc_now(), QueueGauges()
    maintenance = await asyncpg.connect(urls.maintenance_url)
    await lab.enqueue(context, 2, kind="gauged", now=now - HOUR)
    await lab.enqueue(other_context, kind="gauged", now=now)
    await lab.enqueue(context, kind="later", now=now - HOUR, run_at=now + HOUR)
    await gauges.set(maintenance)
    assert (jobs("gauged", "queued"), jobs("later", "queued")) == (3, 1)
    assert age("gauged") == pytest.approx(3600, abs=60)
    assert age("later") is None
    claimed = await lab.claim("gauged", now=utc_now())
    await gauges.set(maintenance)
    assert (jobs("gauged", "queued"), jobs("gauged", "processing"), age("gauged")) == (0, 3, 0)
    await lab.fail(claimed[0], retry_after=None, now=utc_now())
    await lab.finish(*claimed[1:], now=utc_now())
    await gauges.set(maintenance)
    assert (jobs("gauged", "processing"), jobs("gauged", "failed")) == (0, 1)
    await maintenance.close()


async def test_a_dead_letter_that_was_replayed_counts_no_more(lab: Lab, context: Context, urls: Prepared) -> None:
    maintenance, gauges = await asyncpg.connect(urls.maintenance_url), QueueGauges()
    (job_id,) = await lab.enqueue(context, kind="mortal")
    await lab.operate(context, "cancel_jobs", [job_id])
    await gauges.set(maintenance)
    assert jobs("mortal", "dead_letter") == 1
    await lab.operate(context, "replay_jobs", [job_id])
    await gauges.set(maintenance)
    assert (jobs("mortal", "dead_letter"), jobs("mortal", "queued")) == (0, 1)
    await maintenance.close()
