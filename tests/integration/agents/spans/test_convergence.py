"""The same spans, in any order, batches and repetitions, by one sender or several at once, give the same run."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import MASTER_KEYS, a_context
from tests.integration.agents.spans.telling import BEGAN, CHAT, TOOL, Piece, Receiver, agent

from datalane.agents.runs.schemas import AgentRunTrace
from datalane.agents.runs.states import RUN, TOOL_CALL
from datalane.agents.runs.sweeping import sweep_once
from datalane.agents.spans.taking import PATIENCE
from datalane.agents.versions.models import register_model
from datalane.agents.versions.prices import create_price
from datalane.agents.versions.schemas import NewAgentModel, NewModelPrice
from datalane.contracts.context import Role
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.engine.registration import register
from datalane.kit.clock import utc_now

ROOT, OTHER_TRACE = 1, "4bf92f3577b34da6a3ce929d0e0e4736"
MODELS = ("small", "large", "free")


@dataclass
class Ground:
    """A lane on one loop; each telling of spans is in a workspace of its own."""

    runner: asyncio.Runner
    database: Database
    maintenance: asyncpg.Connection

    async def fresh(self) -> Receiver:
        """Two models have prices, of two currencies, one of which changes while the spans go on."""
        receiver = Receiver(self.database, a_context())
        async with self.database.transaction(replace(receiver.context, role=Role.ADMIN)) as tx:
            for model, currency, seconds in (("small", "USD", 0), ("small", "USD", 5), ("large", "EUR", 2)):
                version = await register_model(tx, NewAgentModel(provider="test", model=model))
                price = NewModelPrice(
                    model_version_id=version.model_version_id,
                    currency=currency,
                    input_per_million=Decimal(3 + seconds),
                    output_per_million=Decimal(7),
                    effective_at=BEGAN + timedelta(seconds=seconds),
                )
                await create_price(tx, price, BEGAN - timedelta(days=1))
        return receiver


@pytest.fixture
def ground(urls: Prepared) -> Iterator[Ground]:
    async def connect() -> tuple[Database, asyncpg.Connection]:
        database = await Database.connect(urls.database_url, size=4, master_keys=lambda: MASTER_KEYS)
        await register(database, {}, [], list(EVENTS))
        return database, await asyncpg.connect(urls.maintenance_url)

    with asyncio.Runner() as runner:
        database, maintenance = runner.run(connect())
        yield Ground(runner, database, maintenance)
        runner.run(maintenance.close())
        runner.run(database.close())


tokens = st.sampled_from([0, 7, 7, 7, 1_000, 1_000, 1_000, None, -1, "12", 2.5, True])
seconds = st.integers(0, 8)
conversations = st.sampled_from([None, None, "talk-1", "talk-2", 7])


def spans(number: int) -> st.SearchStrategy[Piece]:
    """One that is below the root, or below another one."""

    def make(operation: str | None, parent: int, start: int, lasts: int, failed: bool, talk: Any, model: Any) -> Piece:
        name = f"{operation} {model}"
        piece = Piece(
            number, operation, parent, start, start + lasts, name, failed=failed, service=f"service {number % 2}"
        )
        said: dict[str, Any] = {} if talk is None else {"conversation__id": talk}
        if operation == CHAT:
            said |= {"provider__name": "test", "request__model": model}
            said |= {"response__finish_reasons": ["stop", "content_filter"]} if model == "free" else {}
        if operation == TOOL:
            said |= {"tool__name": f"tool_{model}"}
        if operation == "invoke_agent":
            said |= {"agent__name": f"agent {number}", "output__messages": f"answer {number}"}
        return piece.saying(**said)

    told = st.builds(
        make,
        st.sampled_from([CHAT, CHAT, TOOL, "invoke_agent", "embeddings", "of_a_time_to_come", None]),
        st.integers(1, 6),
        seconds,
        seconds,
        st.booleans(),
        conversations,
        st.sampled_from(MODELS),
    )
    counted = st.tuples(told, tokens, tokens, tokens)
    return counted.map(
        lambda drawn: drawn[0].saying(
            **{
                name: value
                for name, value in zip(
                    ("usage__input_tokens", "usage__output_tokens", "usage__cache_read__input_tokens"),
                    drawn[1:],
                    strict=True,
                )
                if value is not None
            }
        )
    )


roots = st.sampled_from(
    [
        agent(ROOT).saying(output__messages="the answer", conversation__id="talk-0"),
        replace(agent(ROOT), failed=True),
        Piece(ROOT, None, None, 0, 9, "POST /ask"),
        Piece(ROOT, None, None, 0, 9, "POST /ask", failed=True, service=""),
        Piece(ROOT, CHAT, None, 2, 3, "chat small").saying(provider__name="test", request__model="small"),
        None,
    ]
)


@st.composite
def traces(draw: st.DrawFn) -> list[Piece]:
    """One trace, or two that are told together; a root may be missing."""
    told: list[Piece] = []
    for trace in draw(st.sampled_from([(Piece(1).trace,), (Piece(1).trace, OTHER_TRACE)])):
        root = draw(roots)
        below = [draw(spans(number)) for number in range(2, 2 + draw(st.integers(0, 6)))]
        told += [replace(piece, trace=trace) for piece in ([root] if root else []) + below]
    return told


def told_anew(pieces: Sequence[Piece], random: Random) -> list[list[Piece]]:
    """Shuffled, some of them twice or thrice, in batches."""
    said = [*pieces, *(random.choice(pieces) for _ in range(random.randint(0, len(pieces)) if pieces else 0))]
    random.shuffle(said)
    batches: list[list[Piece]] = []
    while said:
        size = random.randint(1, len(said))
        batches, said = [*batches, said[:size]], said[size:]
    return batches


def shape(run: AgentRunTrace, threads: dict[Any, Any], has_root: bool) -> dict[str, Any]:
    """What must be the same: all but ids, places and the database's own times. Calls of one moment have no order."""
    numbers = (
        *("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens", "model_steps"),
        *("unmeasured_steps", "unpriced_steps", "cost", "known_cost", "currency"),
    )
    words = ("agent", "source_run_id", "status", "error_class", "error_message", "runtime", "input", "output")
    return {
        **{name: getattr(run, name) for name in (*numbers, *words, "started_at")},
        "completed_at": run.completed_at if has_root else None,
        "thread": threads.get(run.thread_id),
        "steps": [step.model_dump(exclude={"ordinal", "model_version_id", "price_version_id"}) for step in run.steps],
        "calls": sorted(
            (
                call.model_dump(exclude={"ordinal", "tool_call_id", "run_id"} | DATABASE_TIMES)
                for call in run.tool_calls
            ),
            key=lambda call: (call["requested_at"], str(call)),
        ),
        "refusals": sorted((each.at, each.category, each.judged_by) for each in run.moderations),
        "history": Counter((each.tool_call_id is None, each.from_status, each.to_status) for each in run.transitions),
    }


DATABASE_TIMES = {"decided_at"}


async def outcome(ground: Ground, batches: Sequence[Sequence[Piece]], at_once: bool = False) -> list[Any]:
    receiver, now = await ground.fresh(), utc_now()
    if at_once:
        await asyncio.gather(*(receiver.take(*batch, now=now) for batch in batches))
    else:
        for batch in batches:
            await receiver.take(*batch, now=now)
    await sweep_once(ground.maintenance, now + PATIENCE * 2)
    threads = await receiver.threads()
    rooted = {piece.trace for batch in batches for piece in batch if piece.parent is None}
    runs = await receiver.runs()
    for run in runs:
        assert_legal(run)
    told = [shape(run, threads, run.source_run_id in rooted) for run in runs]
    return [*sorted(told, key=lambda each: str(each["source_run_id"])), sorted(map(str, threads.values()))]


def assert_legal(run: AgentRunTrace) -> None:
    """Every place is taken once, and each history takes edges of its lifecycle to where the row stands."""
    assert run.deadline_at is None
    places = sorted(
        [step.ordinal for step in run.steps]
        + [call.ordinal for call in run.tool_calls]
        + [each.ordinal for each in run.transitions]
    )
    assert places == list(range(1, len(places) + 1))
    stands: dict[Any, str | None] = {call.tool_call_id: TOOL_CALL.initial for call in run.tool_calls}
    for each in run.transitions:
        lifecycle, before = TOOL_CALL if each.tool_call_id else RUN, stands.get(each.tool_call_id)
        assert each.from_status == before
        assert each.to_status == RUN.initial if before is None else each.to_status in lifecycle.transitions[before]
        stands[each.tool_call_id] = each.to_status
    assert stands.pop(None) == run.status
    assert stands == {call.tool_call_id: call.status for call in run.tool_calls}


def assert_converging(ground: Ground, examples: int, at_once: bool = False) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(traces(), st.integers(0, 2**32))
    def same(pieces: list[Piece], seed: int) -> None:
        batches = told_anew(pieces, Random(seed))
        told = ground.runner.run(outcome(ground, batches, at_once))
        assert told == ground.runner.run(outcome(ground, [pieces] if pieces else []))

    same()


def test_spans_converge_in_any_order_and_any_batches_however_often_they_come(ground: Ground) -> None:
    assert_converging(ground, 60)


def test_spans_converge_when_their_batches_come_at_once(ground: Ground) -> None:
    assert_converging(ground, 25, at_once=True)


@pytest.mark.soak
def test_spans_converge_many_times(ground: Ground) -> None:
    assert_converging(ground, 600)
    assert_converging(ground, 300, at_once=True)
