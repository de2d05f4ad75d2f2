"""Random histories of runs: each is done to the ledger and to a plain one, which must agree at every step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
from tests.integration.agents.desk import COUNT, PAY, SEARCH
from tests.integration.agents.runs.plain_ledger import PATIENCE, PlainRun

from datalane.agents.runs import calls, recording
from datalane.agents.runs.schemas import HeldRun, NewRun, RunEnd
from datalane.agents.runs.states import RUN, TOOL_CALL
from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.db.transaction import Transaction
from datalane.errors import DatalaneError

BEGAN = datetime.fromisoformat("2026-03-01T00:00:00+00:00")
OUTCOMES = ("authorized", "authorized", "authorized", "blocked_policy", "escalated")
TOOL_OF = {
    ("authorized", False): SEARCH,
    ("authorized", True): COUNT,
    ("blocked_policy", False): "nowhere",
    ("blocked_policy", True): "nowhere",
    ("escalated", False): PAY,
    ("escalated", True): PAY,
}
ATTEMPTS = 3
ENDS = ("completed", "completed", "failed", "blocked_policy", "escalated_human")


@dataclass
class Pair:
    """A run of the ledger and the plain one that is to be like it."""

    run_id: UUID
    plain: PlainRun
    call_ids: list[UUID] = field(default_factory=list)


@dataclass
class Histories:
    """Many histories at once, a step of each in one transaction; between the steps time passes and the sweep comes."""

    database: Database
    context: Context
    maintenance: asyncpg.Connection
    random: Random
    clock: int = 0
    done: int = 0
    refused: int = 0

    @property
    def now(self) -> datetime:
        return BEGAN + timedelta(seconds=self.clock)

    async def live(self, many: int, steps: int) -> list[Pair]:
        async with self.database.transaction(self.context) as tx:
            pairs = [await self._begin(tx) for _ in range(many)]
        for _ in range(steps):
            self.clock += self.random.choices((1, 5, 20, 61, 4_000), (40, 30, 15, 10, 1))[0]
            async with self.database.transaction(self.context) as tx:
                for pair in pairs:
                    await self._step(tx, pair)
            if self.random.random() < 0.5:
                await self._sweep(pairs)
        return pairs

    async def _begin(self, tx: Transaction) -> Pair:
        attempts, queued = self.random.randint(1, 3), self.random.random() < 0.2
        new = NewRun(
            agent="random",
            runtime=None if queued else "first",
            max_attempts=attempts,
            lease_seconds=PATIENCE if queued else 60,
        )
        begun = await recording.begin_run(tx, new, self.now)
        if queued:
            return Pair(begun.run_id, PlainRun(attempts, "queued", 0, 0, self.clock + PATIENCE))
        return Pair(begun.run_id, PlainRun(attempts, "running", 1, 1, self.clock + 60))

    async def _sweep(self, pairs: list[Pair]) -> None:
        await self.maintenance.fetch("SELECT datalane.sweep_agent_runs(10000, interval '1 hour', $1)", self.now)
        for pair in pairs:
            pair.plain.sweep(self.clock)

    async def _step(self, tx: Transaction, pair: Pair) -> None:
        plain, draw = pair.plain, self.random
        token = plain.token if draw.random() < 0.9 else max(1, plain.token - 1)
        held = HeldRun(run_id=pair.run_id, lease_token=max(1, token))
        token = held.lease_token
        kind = draw.choice(
            ("take", "beat", "ask", "ask", "start", "succeed", "succeed", "fail", "fail", "cancel", "end", "resolve")
        )
        if kind == "take":
            await self._agree(tx, plain.take(self.clock), lambda: self._take(tx, pair))
        elif kind == "beat":
            await self._agree(tx, plain.beat(token, self.clock), lambda: self._beat(tx, held))
        elif kind == "ask":
            outcome, serial, execute = draw.choice(OUTCOMES), draw.random() < 0.2, draw.random() < 0.7
            expected = plain.ask(token, outcome, serial, execute)
            await self._agree(tx, expected, lambda: self._ask(tx, pair, held, outcome, serial, execute))
        elif kind == "end" and draw.random() < 0.5:
            outcome = draw.choice(ENDS)
            await self._agree(tx, plain.end(token, outcome), lambda: self._end(tx, held, outcome))
        elif pair.call_ids:
            await self._step_of_call(tx, pair, held, kind, draw.randrange(len(pair.call_ids)))

    async def _step_of_call(self, tx: Transaction, pair: Pair, held: HeldRun, kind: str, number: int) -> None:
        plain, call, token = pair.plain, pair.call_ids[number], held.lease_token
        if kind == "start":
            expected = plain.move(token, number, ("authorized", "retrying"), "executing")
            await self._agree(tx, expected, lambda: calls.start_call(tx, held, call, self.now))
        elif kind == "succeed":
            expected = plain.move(token, number, ("executing",), "succeeded")
            await self._agree(tx, expected, lambda: calls.succeed_call(tx, held, call, None, self.now))
        elif kind == "cancel":
            expected = plain.move(token, number, ("authorized",), "canceled")
            await self._agree(tx, expected, lambda: calls.cancel_call(tx, held, call, self.now))
        elif kind == "fail":
            retryable = self.random.random() < 0.5 and plain.calls[number].attempts < ATTEMPTS
            sources = ("executing",) if retryable else ("executing", "retrying")
            expected = plain.move(token, number, sources, "retrying" if retryable else "failed")
            await self._agree(tx, expected, lambda: self._fail(tx, held, call, retryable))
        elif kind == "resolve":
            approve = self.random.random() < 0.5
            expected = plain.resolve(number, approve)
            await self._agree(tx, expected, lambda: calls.resolve_call(tx, call, approve, "seen", self.now))

    async def _agree(self, tx: Transaction, expected: str, act: Callable[[], Awaitable[Any]]) -> None:
        """Do it, and see that it is refused just where the plain ledger refuses."""
        answered = "done"
        try:
            async with tx.savepoint():
                if await act() == "lost":
                    answered = "lost"
        except DatalaneError as error:
            answered = error.code
        assert answered == expected
        self.done, self.refused = self.done + (expected == "done"), self.refused + (expected != "done")

    async def _take(self, tx: Transaction, pair: Pair) -> str:
        taken = await recording.take_run(tx, pair.run_id, "next", timedelta(seconds=60), self.now)
        assert taken is None or taken.lease_token == pair.plain.token
        return "lost" if taken is None else "done"

    async def _beat(self, tx: Transaction, held: HeldRun) -> str:
        extended = await recording.extend_runs(tx, [held], timedelta(seconds=60), self.now)
        return "done" if extended.run_ids else "lost"

    async def _ask(self, tx: Transaction, pair: Pair, held: HeldRun, outcome: Any, serial: bool, execute: bool) -> None:
        asked = await calls.request_call(tx, held, TOOL_OF[outcome, serial], {}, execute=execute, now=self.now)
        pair.call_ids.append(asked.tool_call_id)

    async def _end(self, tx: Transaction, held: HeldRun, outcome: Any) -> None:
        failed = outcome in ("failed", "blocked_policy")
        end = RunEnd(**held.model_dump(), status=outcome, error_class="provider_error" if failed else None)
        await recording.end_run(tx, end, now=self.now)

    async def _fail(self, tx: Transaction, held: HeldRun, call: UUID, retryable: bool) -> None:
        await calls.fail_call(tx, held, call, "provider_error", retryable=retryable, now=self.now)


async def differences(tx: Transaction, pairs: list[Pair]) -> list[str]:
    """Where the ledger is not as the plain one, and edges in its history that no lifecycle has."""
    wanted = [pair.run_id for pair in pairs]
    runs = {
        row["run_id"]: row
        for row in await tx.fetch(
            "SELECT run_id, status, lease_token, open_calls, entries FROM datalane.agent_runs WHERE run_id = ANY ($1)",
            wanted,
        )
    }
    found = {
        row["tool_call_id"]: row["status"]
        for row in await tx.fetch(
            "SELECT tool_call_id, status FROM datalane.tool_calls WHERE run_id = ANY ($1)", wanted
        )
    }
    faults = []
    for pair in pairs:
        run, plain = runs[pair.run_id], pair.plain
        said = (plain.status, plain.token, len(plain.open_calls), [call.status for call in plain.calls])
        is_so = (run["status"], run["lease_token"], run["open_calls"], [found[each] for each in pair.call_ids])
        if said != is_so:
            faults.append(f"{pair.run_id}: {is_so}, not {said}")
    return faults + await _illegal_edges(tx, wanted)


async def _illegal_edges(tx: Transaction, run_ids: list[UUID]) -> list[str]:
    """Each row of the history begins where the one before it ended, and takes an edge of its lifecycle."""
    rows = await tx.fetch(
        """SELECT run_id, tool_call_id, ordinal, from_status, to_status FROM datalane.agent_transitions
        WHERE run_id = ANY ($1) ORDER BY run_id, ordinal""",
        run_ids,
    )
    last: dict[tuple[UUID, UUID | None], str | None] = {}
    faults = []
    for row in rows:
        of, lifecycle = (row["run_id"], row["tool_call_id"]), TOOL_CALL if row["tool_call_id"] else RUN
        before = last.get(of, lifecycle.initial if row["tool_call_id"] else None)
        known = row["to_status"] == RUN.initial if before is None else row["to_status"] in lifecycle.transitions[before]
        if row["from_status"] != before or not known:
            faults.append(f"{of}: {row['from_status']} -> {row['to_status']} after {before}")
        last[of] = row["to_status"]
    return faults
