"""Whatever order signals come in, and however often, they come to the same at each moment; and what SQL decides, Python
decides."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.integration.access.lifecycle.telling import HOUR, NOON, all_there_is, as_rows, shuffled, tellings

from datalane.access.lifecycle.folding import Folded, Told, fold, outcome_of
from datalane.access.lifecycle.service import settle
from datalane.access.lifecycle.states import DEMO_ACCESS, RULES, SIGNALS, STATES, Ignored
from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.kit.ids import uuid7

pytestmark = [pytest.mark.one_database, pytest.mark.usefixtures("plans")]

ONE_AFTER_ANOTHER = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
RECORD = "SELECT receipt FROM datalane.record_access_signals($1, now => $2)"


async def told_to_a_new_workspace(database: Database, batches: Sequence[Sequence[Told]]) -> dict[str, Any]:
    """Batch after batch, half an hour apart, so that ends pass between them; settled at noon."""
    operator = Context.system(uuid7())
    for before, batch in zip(range(len(batches), 0, -1), batches, strict=True):
        async with database.transaction(operator) as tx:
            await tx.fetch(RECORD, as_rows(batch), NOON - before * HOUR / 2)
    async with database.transaction(operator) as tx:
        await settle(tx, now=NOON)
        return await all_there_is(tx)


async def test_the_table_of_the_database_is_that_of_the_code(database: Database, operator: Context) -> None:
    async with database.transaction(operator) as tx:
        for state in STATES:
            for signal in SIGNALS:
                row = await tx.fetchrow("SELECT target, reason FROM datalane.access_rule($1, $2)", state, signal)
                if signal == "correct":
                    assert row is None or row["target"] is None
                    continue
                assert row is not None
                rule = RULES[state][signal]
                known = (None, rule.reason) if isinstance(rule, Ignored) else (rule, None)
                assert (row["target"], row["reason"]) == known, (state, signal)


@ONE_AFTER_ANOTHER
@given(told=tellings(ahead=8), seed=st.integers(0, 2**32))
async def test_any_order_with_duplicates_in_any_batches_ends_in_the_same(
    database: Database, told: list[Told], seed: int
) -> None:
    once = await told_to_a_new_workspace(database, [told])
    assert await told_to_a_new_workspace(database, shuffled(told, seed)) == once


async def test_a_plan_that_only_an_order_of_telling_led_to_is_not_the_one_that_is_disabled(database: Database) -> None:
    """A version waits with one before it that lies ahead, also where that is told of after it."""
    told = [
        Told("billing", "begun", "activate", NOON - 2 * HOUR, 5, plan_id="pro"),
        Told("billing", "paused", "suspend", NOON + 6 * HOUR, 3),
        Told("crm", "gone", "deactivate", NOON - HOUR),
    ]
    at_once = await told_to_a_new_workspace(database, [told])
    assert (at_once["access"]["state"], at_once["plan"]) == ("deactivated", [])
    assert await told_to_a_new_workspace(database, [told[:1], told[1:]]) == at_once


@ONE_AFTER_ANOTHER
@given(told=tellings(ahead=8))
async def test_the_database_decides_as_the_model_does(database: Database, told: list[Told]) -> None:
    there = await told_to_a_new_workspace(database, [told])
    assert there == as_written(fold(told, NOON), there)


def as_written(folded: Folded, there: dict[str, Any]) -> dict[str, Any]:
    """`there` as it has to be by what the model decides; what it does not decide is taken over."""
    position, led = folded.position, folded.led
    access = {
        "state": position.state,
        "plan_id": position.plan_id,
        "since": folded.since,
        "ends_at": position.ends_at,
        "grace_seconds": position.grace_seconds,
        "next_at": folded.next_at,
        "source_system": led and led.source_system,
        "source_event_id": led and led.source_event_id,
        "source_version": led and led.source_version,
    }
    history = [
        (
            *(place, step.before, step.after.state, step.after.plan_id, step.after.ends_at),
            *(step.after.grace_seconds, step.why, step.source_system, step.source_event_id, step.at),
        )
        for place, step in enumerate(folded.steps, 1)
    ]
    outcomes = [(*key, outcome_of(reason), reason) for key, reason in sorted(folded.outcomes.items())]
    return {**there, "access": {**there["access"], **access}, "history": history, "outcomes": outcomes}


async def at_moments(
    database: Database, batches: Sequence[Sequence[Told]], begins: datetime, moments: Sequence[datetime]
) -> list[dict[str, Any]]:
    """Batch after batch from `begins` on, half an hour apart, and then what there is at each of `moments`. All the way
    it has to be the fold of what was told so far, at the time of the clock."""
    operator, known, seen = Context.system(uuid7()), dict[str, Told](), list[dict[str, Any]]()
    for place, batch in enumerate(batches):
        clock = begins + place * HOUR / 2
        known |= {each.source_event_id: each for each in batch}
        async with database.transaction(operator) as tx:
            await tx.fetch(RECORD, as_rows(batch), clock)
            there = await all_there_is(tx)
        assert there == as_written(fold(known.values(), clock), there)
    for moment in moments:
        async with database.transaction(operator) as tx:
            await settle(tx, now=moment)
            seen.append(await all_there_is(tx))
        assert seen[-1] == as_written(fold(known.values(), moment), seen[-1])
    return seen


@ONE_AFTER_ANOTHER
@given(told=tellings(ahead=8), seed=st.integers(0, 2**32))
async def test_at_each_moment_of_a_moving_clock_it_is_the_fold_of_what_was_told_and_has_come(
    database: Database, told: list[Told], seed: int
) -> None:
    """The clock begins before most of the signals' time. Once all are told, it goes on over those that are ahead."""
    batches = shuffled(told, seed)
    moments = [NOON + hours * HOUR for hours in (-5, -1, 0, 2, 5, 8, 30)]
    after = [moment for moment in moments if moment >= NOON - 6 * HOUR + len(batches) * HOUR / 2]
    seen = await at_moments(database, batches, NOON - 6 * HOUR, after)
    assert await at_moments(database, [told], NOON - 6 * HOUR, after) == seen


@given(told=tellings(most=40, ahead=8), seed=st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_the_model_does_not_see_in_which_order_signals_stand(told: list[Told], seed: int) -> None:
    other = list(told)
    random.Random(seed).shuffle(other)
    assert fold(other, NOON) == fold(told, NOON)


@ONE_AFTER_ANOTHER
@given(told=tellings(most=40, ahead=8))
def test_steps_follow_one_another_in_time_and_in_state(told: list[Told]) -> None:
    before, moment = "pending", None
    for step in fold(told, NOON).steps:
        assert step.before == before
        if step.why != "correct" and step.after.state != before:
            assert step.after.state in DEMO_ACCESS.transitions[before]
        assert moment is None or step.at >= moment
        before, moment = step.after.state, step.at


@ONE_AFTER_ANOTHER
@given(told=tellings(ahead=8), seed=st.integers(0, 2**32))
async def test_what_transactions_tell_at_once_ends_in_the_same(database: Database, told: list[Told], seed: int) -> None:
    once = await told_to_a_new_workspace(database, [told])
    operator = Context.system(uuid7())

    async def tell(batch: Sequence[Told]) -> None:
        async with database.transaction(operator) as tx:
            await tx.fetch(RECORD, as_rows(batch), NOON)

    await asyncio.gather(*(tell(batch) for batch in shuffled(told, seed)))
    async with database.transaction(operator) as tx:
        assert await all_there_is(tx) == once
