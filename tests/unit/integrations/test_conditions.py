"""Expressions in their children: a hostile one costs itself, never its neighbours, its process or its parent."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from datalane.engine.events import Event
from datalane.errors import InvalidInput, LimitExceeded
from datalane.integrations.automation.conditions import (
    Conditions,
    ConditionsUnavailable,
    Decided,
    Expression,
    ExpressionFailed,
    child,
)
from datalane.kit.ids import uuid7
from datalane.settings import AutomationSettings

NUMBERS = list(range(1_000))
LONG = "a" * 100_000
NESTED = "event.payload.n.map(a, event.payload.n.map(b, event.payload.n.map(c, [a, b, c]))).size() > 0"


def an_event(payload: Any = None, **said: Any) -> Event:
    fields: dict[str, Any] = {
        "event_id": uuid7(),
        "event_type": "invoice.paid",
        "version": 1,
        "source_system": "shop",
        "source_event_id": "7",
        "subject_id": None,
        "actor_id": uuid7(),
        "occurred_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "received_at": datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC),
        "correlation_id": "test",
        "causation_id": None,
        "causation_depth": 0,
        "payload": {"invoice": 7} if payload is None else payload,
        "signature_verified": False,
        "ingestion_status": "accepted",
    }
    return Event(**{**fields, **said})


@pytest.fixture
async def conditions() -> AsyncIterator[Conditions]:
    made = Conditions(AutomationSettings(memory=128 * 1024 * 1024))
    yield made
    await made.aclose()


async def decide(conditions: Conditions, text: str, payload: Any = None, *arguments: str, **said: Any) -> Decided:
    places = [Expression(f"argument {place}", each) for place, each in enumerate(arguments)]
    return await conditions.decide(an_event(payload, **said), Expression("the condition", text), places)


async def failure(conditions: Conditions, text: str, payload: Any = None, *arguments: str) -> tuple[str, str]:
    with pytest.raises(ExpressionFailed) as failed:
        await decide(conditions, text, payload, *arguments)
    assert failed.value.failure.retryable is False
    return failed.value.failure.error_class, failed.value.failure.message


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("true", True),
        ("event.type == 'invoice.paid' && event.version == 1", True),
        ("event.payload.invoice > 7", False),
        ("event.payload.invoice == 7.0", True),
        ("has(event.payload.customer) && event.payload.customer == 'ada'", False),
        ("event.subject_id == null", True),
        ("event.source_system == 'shop' && event.causation_depth < 3", True),
        ("event.occurred_at > timestamp('2026-01-01T00:00:00Z') && event.occurred_at.getHours() == 3", True),
        ("event.actor_id.matches('^[0-9a-f-]{36}$')", True),
        ("event.payload.exists(key, key == 'invoice')", True),
    ],
)
async def test_a_condition_says_whether_it_holds_of_an_event(conditions: Conditions, text: str, holds: bool) -> None:
    await conditions.check(Expression("the condition", text), boolean=True)
    assert (await decide(conditions, text)).holds is holds


async def test_arguments_have_values_once_the_condition_holds(conditions: Conditions) -> None:
    found = await decide(
        conditions,
        "event.payload.n > 1",
        {"n": 2, "name": "Ada", "list": [1.5, None, {"a": True}]},
        "'Pay ' + event.payload.name + ' ' + string(event.payload.n)",
        "event.payload.list",
        "event.occurred_at",
        "duration('90s')",
        "{'of': event.payload.n * 2}",
    )
    assert found == Decided(
        True, ["Pay Ada 2", [1.5, None, {"a": True}], "2026-01-02T03:04:05+00:00", "90s", {"of": 4}]
    )
    assert await decide(conditions, "event.payload.n > 1", {"n": 1}, "event.payload.missing") == Decided(False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("event.payload.invoice >", "line 1, column 24: Syntax error: mismatched input '<EOF>'"),
        ("amount > 3", "line 1, column 1: undeclared reference to 'amount'. An expression may name event.type"),
        ("event.kind == 'x'", "undeclared reference to 'event.kind'"),
        ("true &&\n  now() > 3", "line 2, column 6: undeclared reference to 'now'"),
        ("event.type > 3", "found no matching overload"),
        ("event.version + 1", "its type is INT, not BOOL"),
        ("'yes'", "its type is STRING, not BOOL"),
        ("", "Syntax error"),
        ("(" * 1_000 + "true" + ")" * 1_000, "It is nested too deeply"),
        ("1+" * 1_300 + "1 > 0", "It is nested too deeply"),
        ("true" + "?true:true" * 300, "It is nested too deeply"),
    ],
)
async def test_what_is_no_condition_is_refused_with_its_place(conditions: Conditions, text: str, says: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await conditions.check(Expression("condition", text), boolean=True)
    [fault] = refused.value.errors
    assert (fault["field"], says in fault["message"]) == ("condition", True), fault
    assert len(fault["message"]) <= 500
    assert conditions.replaced == 0


async def test_a_condition_over_the_limit_is_refused_by_its_bytes(conditions: Conditions) -> None:
    await conditions.check(Expression("condition", "true".ljust(4_096)), boolean=True)
    for text, size in (("true".ljust(4_097), "4,097"), (f"'{'ä' * 2_048}' != ''", "4,104")):
        with pytest.raises(LimitExceeded, match=rf"{size} bytes, the limit is 4,096 \(limits.condition\)"):
            await conditions.check(Expression("condition", text), boolean=True)


@pytest.mark.parametrize(
    ("text", "error_class", "says"),
    [
        ("event.payload.customer == 'ada'", "condition_error", 'Key not found in map : "customer"; ask has(…) before'),
        ("event.payload", "condition_not_boolean", "its value is of the type MAP"),
        ("event.payload.invoice", "condition_not_boolean", "its value is of the type INT, not BOOL"),
        ("event.payload.invoice / 0 == 1", "condition_error", "divide by zero"),
        ("event.payload.invoice + 'x' == ''", "condition_error", "overload"),
    ],
)
async def test_a_condition_without_a_value_says_why(
    conditions: Conditions, text: str, error_class: str, says: str
) -> None:
    found, message = await failure(conditions, text)
    assert (found, says in message, message.startswith("the condition: ")) == (error_class, True, True), message
    assert conditions.replaced == 0


@pytest.mark.parametrize("text", ["b'\\xff'", "1.0 / 0.0", "{1: 2}", "type(1)", "event.payload.missing"])
async def test_an_argument_without_a_value_that_can_be_kept_is_named(conditions: Conditions, text: str) -> None:
    error_class, message = await failure(conditions, "true", None, "1", text, "2")
    assert (error_class, message.startswith("argument 1: ")) == ("condition_error", True), message


@pytest.mark.parametrize(
    "text",
    [
        NESTED,
        "event.payload.n.all(a, event.payload.n.all(b, event.payload.n.all(c, a + b + c >= 0)))",
        "event.payload.n.exists(a, event.payload.n.exists(b, event.payload.n.exists(c, a + b + c < 0)))",
    ],
)
async def test_nested_loops_are_stopped_and_the_next_one_is_well(conditions: Conditions, text: str) -> None:
    await conditions.check(Expression("condition", text), boolean=True)
    assert (await failure(conditions, text, {"n": NUMBERS}))[0] == "condition_timeout"
    assert (await decide(conditions, "event.payload.n == 1", {"n": 1})).holds


@pytest.mark.parametrize(
    "text",
    [
        "event.payload.n.map(a, event.payload.s + string(a)).size() > 0",
        "event.payload.n.map(a, event.payload.n.map(b, event.payload.n)).size() > 0",
    ],
)
async def test_a_bomb_of_memory_costs_its_own_child(text: str) -> None:
    patient = Conditions(AutomationSettings(memory=128 * 1024 * 1024, condition_time=timedelta(seconds=20)))
    try:
        assert (await failure(patient, text, {"n": NUMBERS * 4, "s": LONG}))[0] == "condition_memory"
        assert (await decide(patient, "true")).holds
    finally:
        await patient.aclose()


async def test_what_takes_longer_than_it_may_is_told_the_setting(conditions: Conditions) -> None:
    told = await failure(conditions, NESTED, {"n": NUMBERS})
    assert told == ("condition_timeout", "the condition: it took more than 50 ms (automation.condition_time)")


def test_an_expression_is_compiled_once() -> None:
    expressions, compiled = child._Expressions(1.0, 1_000), list[str]()

    class Counting:
        def __init__(self, environment: Any) -> None:
            self.environment = environment

        def compile(self, text: str) -> Any:
            compiled.append(text)
            return self.environment.compile(text)

    expressions._env = Counting(expressions._env)
    for version in (1, 2, 1):
        for text in ("event.version == 1", "event.version > 1"):
            assert expressions._told(expressions._decide, text, {"event.version": version}).keys() == {"value"}
    assert compiled == ["event.version == 1", "event.version > 1"]


async def test_a_huge_text_and_a_regular_expression_are_no_danger(conditions: Conditions) -> None:
    payload = {"s": LONG}
    assert not (await decide(conditions, "event.payload.s.matches('(a*)*b$')", payload)).holds
    assert (await decide(conditions, "event.payload.s.size() == 100000", payload)).holds
    found, message = await failure(conditions, "true", payload, "event.payload.s + event.payload.s + event.payload.s")
    assert (found, "the limit is 262,144" in message) == ("condition_error", True)
    assert conditions.replaced == 0


async def test_numbers_that_the_library_cannot_hold_keep_nothing_else_from_being_read(conditions: Conditions) -> None:
    payload = {"n": 1, "large": 2**63, "huge": [1e300, 2**64 - 1]}
    assert (await decide(conditions, "event.payload.n == 1 && event.payload.large > 9e18", payload)).holds


async def test_the_process_goes_on_while_an_expression_works(conditions: Conditions) -> None:
    """The loop of this process turns on, and others in the queue have their answers."""
    await decide(conditions, "true")
    late, stop = list[float](), asyncio.Event()

    async def watch() -> None:
        while not stop.is_set():
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append(time.perf_counter() - before)

    watching = asyncio.create_task(watch())
    hostile = [asyncio.create_task(failure(conditions, NESTED, {"n": NUMBERS})) for _ in range(5)]
    well = [asyncio.create_task(decide(conditions, f"event.payload.n == {n}", {"n": n})) for n in range(20)]
    assert [one.holds for one in await asyncio.gather(*well)] == [True] * 20
    assert [error_class for error_class, _ in await asyncio.gather(*hostile)] == ["condition_timeout"] * 5
    stop.set()
    await watching
    assert conditions.replaced == 5
    assert sorted(late)[len(late) // 2] < 0.02, "the loop was held up"


async def test_time_is_the_expressions_own_and_not_that_of_a_busy_machine(conditions: Conditions) -> None:
    await decide(conditions, "true")
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        for number in range(20):
            assert (await decide(conditions, "event.payload.n.all(a, a >= 0)", {"n": NUMBERS[: 10 * number]})).holds
    finally:
        for each in busy:
            each.kill()
            each.wait()
    assert conditions.replaced == 0


async def test_a_child_that_is_killed_from_outside_is_replaced_and_nobody_is_blamed(conditions: Conditions) -> None:
    assert (await decide(conditions, "true")).holds
    [child] = conditions._idle
    os.kill(child.pid, 9)
    assert (await decide(conditions, "true")).holds


async def test_an_answer_that_nobody_waits_for_is_not_given_to_the_next(conditions: Conditions) -> None:
    await decide(conditions, "true")
    asking = asyncio.create_task(decide(conditions, NESTED, {"n": NUMBERS}))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (await decide(conditions, "event.payload.n == 3", {"n": 3})).holds


async def test_a_child_knows_no_secret_and_ends_with_the_pool(
    conditions: Conditions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATALANE_MASTER_KEY", "a key that nobody else should see")
    await decide(conditions, "true")
    [child] = conditions._idle
    with open(f"/proc/{child.pid}/environ") as environment:
        assert "DATALANE" not in environment.read()
    await conditions.aclose()
    assert not child.alive
    with pytest.raises(ConditionsUnavailable, match="closed"):
        await decide(conditions, "true")


async def test_a_healthy_expression_costs_a_few_milliseconds_at_most(conditions: Conditions) -> None:
    texts = [f"event.payload.n == {number} && has(event.payload.n)" for number in range(10)]
    for text in texts:
        await decide(conditions, text, {"n": 1})
    took = []
    for number in range(300):
        began = time.perf_counter()
        await decide(conditions, texts[number % 10], {"n": 1})
        took.append(time.perf_counter() - began)
    median = sorted(took)[150]
    assert median < 0.005, f"{median * 1000:.2f} ms"
