"""Whatever order signals come in, and however often, they come to the same; and what SQL decides, Python decides."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.integration.access.lifecycle.telling import HOUR, NOON, all_there_is, as_rows, shuffled, tellings

from datalane.access.lifecycle.folding import Told, fold
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
@given(told=tellings(), seed=st.integers(0, 2**32))
async def test_any_order_with_duplicates_in_any_batches_ends_in_the_same(
    database: Database, told: list[Told], seed: int
) -> None:
    once = await told_to_a_new_workspace(database, [told])
    assert await told_to_a_new_workspace(database, shuffled(told, seed)) == once


@ONE_AFTER_ANOTHER
@given(told=tellings())
async def test_the_database_decides_as_the_model_does(database: Database, told: list[Told]) -> None:
    there = await told_to_a_new_workspace(database, [told])
    folded = fold(told, NOON)
    access, position = there["access"], folded.position
    assert (access["state"], access["plan_id"], access["ends_at"], access["grace_seconds"]) == (
        *(position.state, position.plan_id, position.ends_at, position.grace_seconds),
    )
    assert {(system, event): reason for system, event, _, reason in there["outcomes"]} == folded.outcomes
    assert access["next_at"] == position.deadline
    assert there["history"] == [
        (
            *(place, step.before, step.after.state, step.after.plan_id, step.after.ends_at),
            *(step.after.grace_seconds, step.why, step.source_system, step.source_event_id, step.at),
        )
        for place, step in enumerate(folded.steps, 1)
    ]


@given(told=tellings(most=40), seed=st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_the_model_does_not_see_in_which_order_signals_stand(told: list[Told], seed: int) -> None:
    other = list(told)
    random.Random(seed).shuffle(other)
    assert fold(other, NOON) == fold(told, NOON)


@ONE_AFTER_ANOTHER
@given(told=tellings(most=40))
def test_steps_follow_one_another_in_time_and_in_state(told: list[Told]) -> None:
    before, moment = "pending", None
    for step in fold(told, NOON).steps:
        assert step.before == before
        if step.why != "correct" and step.after.state != before:
            assert step.after.state in DEMO_ACCESS.transitions[before]
        assert moment is None or step.at >= moment
        before, moment = step.after.state, step.at


@ONE_AFTER_ANOTHER
@given(told=tellings(), seed=st.integers(0, 2**32))
async def test_what_transactions_tell_at_once_ends_in_the_same(database: Database, told: list[Told], seed: int) -> None:
    once = await told_to_a_new_workspace(database, [told])
    operator = Context.system(uuid7())

    async def tell(batch: Sequence[Told]) -> None:
        async with database.transaction(operator) as tx:
            await tx.fetch(RECORD, as_rows(batch), NOON)

    await asyncio.gather(*(tell(batch) for batch in shuffled(told, seed)))
    async with database.transaction(operator) as tx:
        assert await all_there_is(tx) == once
