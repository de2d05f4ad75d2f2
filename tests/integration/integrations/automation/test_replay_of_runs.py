"""Runs that were skipped, failed or are dead letters are taken up again; none has its effect twice."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from tests.integration.integrations.automation.conftest import Notes, Shop, cel, claimed, no_jobs, note

from datalane.engine.jobs import retry_jobs
from datalane.errors import Conflict, IllegalTransition, NotFound
from datalane.kit.ids import uuid7


async def test_a_run_that_completed_is_never_replayed(shop: Shop) -> None:
    await shop.rule(note())
    await shop.pay()
    async with shop.working():
        [run] = await shop.ended()
        with pytest.raises(IllegalTransition, match="cannot go from completed to pending"):
            await shop.replay(ids=[run.run_id])
        with pytest.raises(NotFound):
            await shop.replay(ids=[run.run_id, uuid7()])
    assert await shop.left() == ["paid"]


async def test_a_run_that_is_not_over_is_not_replayed(shop: Shop) -> None:
    await shop.rule(note())
    await shop.pay()
    [job] = await claimed(shop)
    await shop.execution.prepare([job])
    [run] = await shop.runs("running")
    with pytest.raises(Conflict, match="it is not over yet"):
        await shop.replay(ids=[run.run_id])


async def test_a_second_replay_has_no_second_effect(shop: Shop) -> None:
    await shop.rule(note("x", fails=1, how="invalid"))
    await shop.pay()
    async with shop.working():
        [run] = await shop.ended(1, "failed")
    outcomes = await asyncio.gather(*(shop.replay(ids=[run.run_id]) for _ in range(5)), return_exceptions=True)
    assert sum(not isinstance(each, Exception) for each in outcomes) == 1, outcomes
    async with shop.working():
        [again] = await shop.ended(1, "completed")
        await no_jobs(shop)
    assert (again.replay_count, await shop.left()) == (1, ["x"])


async def test_many_are_replayed_by_what_they_failed_of(shop: Shop, notes: Notes) -> None:
    rule = await shop.rule(note(cel("string(event.payload.invoice)"), how="until_mended"))
    other = await shop.rule(note("other"), name="Another rule", condition="event.payload.invoice > 3")
    for invoice in range(6):
        await shop.pay(invoice)
    failed = {"status": "failed"}
    async with shop.working():
        await shop.ended(12)
        counted = await shop.replay(
            where={**failed, "rule_id": rule.rule_id, "error_class": "invalid_input"}, dry_run=True
        )
        assert (counted.matched, counted.replayed, counted.dry_run) == (6, 0, True)
        assert len(await shop.runs("failed")) == 6
        assert (await shop.replay(where={**failed, "rule_id": other.rule_id})).matched == 0
        assert (await shop.replay(where={**failed, "error_class": "provider_error"})).matched == 0
        notes.mended = True
        for outside in ({"since": datetime.now(UTC) + timedelta(hours=1)}, {"until": datetime(2020, 1, 1, tzinfo=UTC)}):
            assert (await shop.replay(where={**failed, **outside})).matched == 0
        done = await shop.replay(where={**failed, "rule_id": rule.rule_id})
        assert (done.matched, done.replayed, done.skipped, len(done.ids)) == (6, 6, 0, 6)
        await shop.ended(6, "completed", rule_id=rule.rule_id)
    assert len(await shop.left()) == 6 + 2


async def test_an_operator_who_retries_the_job_takes_the_run_up(shop: Shop) -> None:
    await shop.rule(note("x", fails=1, how="invalid"))
    await shop.pay()
    async with shop.working():
        [run] = await shop.ended(1, "failed")
        async with shop.database.transaction(shop.context) as tx:
            await retry_jobs(tx, [run.job_id])
        [run] = await shop.ended(1, "completed")
    assert (run.replay_count, await shop.left()) == (0, ["x"])
