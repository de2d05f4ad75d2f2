"""Thousands of random histories: no illegal state, and at each step what a plain ledger says."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import asyncpg
import pytest
from tests.integration.agents.desk import LedgerDesk
from tests.integration.agents.runs.histories import Histories, differences

from datalane.agents.runs.states import RUN, TOOL_CALL
from datalane.contracts.context import Role

AT_ONCE, STEPS = 100, 16


async def test_random_histories_are_as_a_plain_ledger_says(desk: LedgerDesk, maintenance: asyncpg.Connection) -> None:
    assert await differences_of(desk, maintenance, range(4)) == []


@pytest.mark.soak
async def test_ten_thousand_random_histories(desk: LedgerDesk, maintenance: asyncpg.Connection) -> None:
    assert await differences_of(desk, maintenance, range(100, 200)) == []


async def differences_of(desk: LedgerDesk, maintenance: asyncpg.Connection, seeds: range) -> list[str]:
    """Where histories are not as the plain ledger says; all statuses must have come to be."""
    found: list[str] = []
    owner = replace(desk.context, role=Role.OWNER)
    for seed in seeds:
        histories = Histories(desk.database, owner, maintenance, Random(seed))
        pairs = await histories.live(AT_ONCE, STEPS)
        async with desk.database.transaction(desk.context) as tx:
            found += [f"seed {seed}: {each}" for each in await differences(tx, pairs)]
        assert min(histories.done, histories.refused) > 0, f"seed {seed}"
    came_to = "SELECT DISTINCT to_status, tool_call_id IS NULL FROM datalane.agent_transitions"
    everywhere = {(state, True) for state in RUN.states} | {(state, False) for state in TOOL_CALL.states}
    assert set(await desk.rows(came_to)) == everywhere - {(TOOL_CALL.initial, False)}
    return found
