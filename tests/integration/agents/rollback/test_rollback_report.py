"""From a version, a price or a tool to every run that it has touched."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from tests.apps import shared_app
from tests.integration.agents.desk import COUNT, SEARCH, TOOLS, LedgerDesk
from tests.integration.api.conftest import OpenLane, Person, ada, bob, client, join, sign_up

from datalane.agents import routes
from datalane.agents.rollback.schemas import RollbackReport, RollbackSummary, RunsByConformance, Suspect
from datalane.agents.rollback.service import report_rollback
from datalane.agents.runs.schemas import NewStep
from datalane.agents.versions import models, output_schemas, prices, prompts
from datalane.agents.versions.schemas import NewAgentModel, NewModelPrice, NewOutputSchema, NewPrompt
from datalane.contracts.context import Context, Role
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.domains import make_runtime
from datalane.engine.registration import register
from datalane.errors import InvalidInput, NotFound
from datalane.kit.ids import uuid7
from datalane.settings import Settings

__all__ = ["ada", "bob", "client", "join", "sign_up"]

UNKNOWN = uuid7()


@dataclass
class Bench:
    """The ledger with versions, and what is told of them."""

    desk: LedgerDesk

    async def model(self, name: str = "owl-1") -> UUID:
        async with self.desk.database.transaction(self.desk.context) as tx:
            return (await models.register_model(tx, NewAgentModel(provider="owls", model=name))).model_version_id

    async def prompt(self, template: str = "Answer.") -> UUID:
        async with self.desk.database.transaction(self.desk.context) as tx:
            return (await prompts.register_prompt(tx, NewPrompt(name="a", template=template))).prompt_version_id

    async def output_schema(self) -> UUID:
        new = NewOutputSchema(name="answer", json_schema={"type": "string"})
        async with self.desk.database.transaction(self.desk.context) as tx:
            return (await output_schemas.register_output_schema(tx, new)).output_schema_version_id

    async def price(self, model: UUID, currency: str = "USD", each: str = "1") -> UUID:
        rates = {"input_per_million": each, "output_per_million": each}
        new = NewModelPrice(model_version_id=model, currency=currency, **rates)  # type: ignore[arg-type]
        async with self.desk.database.transaction(replace(self.desk.context, role=Role.ADMIN)) as tx:
            return (await prices.create_price(tx, new)).price_version_id

    async def run(self, *steps: UUID | None, end: str | None = "completed", output: Any = None, **said: Any) -> UUID:
        """A run with a step of each model, which uses a million tokens."""
        run = await self.desk.hold(**said)
        for model in steps:
            used: dict[str, Any] = {"input_tokens": 600_000, "output_tokens": 400_000} if model else {}
            await self.desk.record(run, NewStep(kind="model", name="chat", model_version_id=model, **used))
        if end:
            await self.desk.end(run, end, output=output)
        return run.run_id

    async def report(self, cursor: str | None = None, page_size: int = 25, **asked: Any) -> RollbackReport:
        async with self.desk.database.transaction(self.desk.context) as tx:
            return await report_rollback(tx, Suspect(**asked), cursor, page_size)

    async def sums(self, **asked: Any) -> RollbackSummary:
        summary = (await self.report(**asked)).summary
        assert summary is not None
        return summary

    async def touched(self, **asked: Any) -> list[UUID]:
        return [run.run_id for run in (await self.report(**asked)).data]


@pytest.fixture
def bench(desk: LedgerDesk) -> Bench:
    return Bench(desk)


async def test_a_model_touched_the_runs_that_name_it_and_those_with_a_step_that_does(bench: Bench) -> None:
    bad, good = await bench.model("bad"), await bench.model("good")
    by_run = await bench.run(good, model_version_id=bad)
    by_step = await bench.run(good, bad, bad, model_version_id=good)
    by_both = await bench.run(bad, model_version_id=bad)
    await bench.run(good, model_version_id=good)
    report = await bench.report(model_version_id=bad)
    assert [(run.run_id, run.steps, run.named_steps) for run in report.data] == [
        (by_both, 1, 1),
        (by_step, 3, 2),
        (by_run, 1, 0),
    ]
    assert report.summary is not None
    assert (report.summary.runs, report.summary.steps, report.summary.named_steps) == (3, 5, 3)


async def test_runs_around_and_inside_are_touched_only_when_they_are_so_themselves(bench: Bench) -> None:
    bad = await bench.model()
    outer = await bench.run(end=None)
    middle = await bench.run(bad, parent_run_id=outer)
    await bench.run(parent_run_id=middle)
    assert await bench.touched(model_version_id=bad) == [middle]


async def test_a_prompt_is_found_in_runs_and_in_steps(bench: Bench) -> None:
    bad = await bench.prompt()
    by_run = await bench.run(prompt_version_id=bad)
    run = await bench.desk.hold()
    await bench.desk.record(run, NewStep(kind="model", name="chat", prompt_version_id=bad))
    await bench.run(prompt_version_id=await bench.prompt("Another."))
    assert await bench.touched(prompt_version_id=bad) == [run.run_id, by_run]
    assert (await bench.sums(prompt_version_id=bad)).named_steps == 1


async def test_a_price_touched_what_was_reckoned_by_it(bench: Bench) -> None:
    model = await bench.model()
    early = await bench.price(model, each="1")
    by_early = await bench.run(model)
    late = await bench.price(model, each="2")
    by_late = await bench.run(model, model)
    assert await bench.touched(price_version_id=early) == [by_early]
    assert await bench.touched(price_version_id=late) == [by_late]
    [costs] = (await bench.sums(price_version_id=late)).costs
    assert (costs.currency, costs.known_cost, costs.named_cost) == ("USD", Decimal(4), Decimal(4))


async def test_costs_in_two_currencies_are_two_sums_and_what_is_not_known_is_counted(bench: Bench) -> None:
    dollars, euros, unpriced = await bench.model("a"), await bench.model("b"), await bench.model("c")
    await bench.price(dollars, each="0.0000000001")
    await bench.price(euros, "EUR", "3")
    await bench.run(dollars, unpriced)
    await bench.run(dollars, dollars, euros)
    sums = await bench.sums(model_version_id=dollars)
    tiny = Decimal("0.0000000001")
    assert [(each.currency, each.known_cost, each.named_cost) for each in sums.costs] == [
        ("EUR", Decimal(3), Decimal(0)),
        ("USD", 3 * tiny, 3 * tiny),
    ]
    assert sums.unpriced_steps == 1
    first, second = (await bench.report(model_version_id=dollars)).data
    assert (second.cost, second.known_cost, second.unpriced_steps) == (None, tiny, 1)
    assert (first.cost, first.known_cost, first.currency) == (None, 2 * tiny, "USD"), "a run has one currency"


async def test_a_tool_touched_the_runs_that_called_it_in_the_version_that_is_asked_about(bench: Bench) -> None:
    desk = bench.desk
    first = await desk.hold()
    await desk.ask(first, SEARCH)
    await desk.ask(first, SEARCH)
    [tool] = [each for each in TOOLS if each.tool_name == SEARCH]
    await desk.publish(tool.model_copy(update={"description": "b", "current_version": 1}))
    second = await desk.hold()
    await desk.ask(second, SEARCH)
    await desk.ask(await desk.hold(), COUNT)
    every = await bench.report(tool_name=SEARCH)
    assert [(run.run_id, run.tool_calls, run.named_calls) for run in every.data] == [
        (second.run_id, 1, 1),
        (first.run_id, 2, 2),
    ]
    assert await bench.touched(tool_name=SEARCH, tool_version=1) == [first.run_id]
    sums = await bench.sums(tool_name=SEARCH, tool_version=2)
    assert (sums.runs, sums.tool_calls, sums.named_calls, sums.named_steps) == (1, 1, 1, 0)


async def test_states_conformance_and_times_are_summed(bench: Bench) -> None:
    model, schema = await bench.model(), await bench.output_schema()
    said: dict[str, Any] = {"model_version_id": model, "output_schema_version_id": schema}
    for output in ("text", 7, 8):
        await bench.run(output=output, **said)
    last = await bench.run(end=None, **said)
    sums = await bench.sums(model_version_id=model)
    assert sums.by_status == {"completed": 3, "running": 1}
    assert sums.by_conformance == RunsByConformance(conforming=1, not_conforming=2, unknown=1)
    times = [row[0] for row in await bench.desk.rows("SELECT created_at FROM datalane.agent_runs ORDER BY run_id")]
    assert (sums.first_at, sums.last_at) == (times[0], times[-1])
    assert (await bench.touched(model_version_id=model))[0] == last


async def test_what_touched_nothing_is_told_so(bench: Bench) -> None:
    report = await bench.report(model_version_id=await bench.model())
    assert (report.data, report.next_cursor) == ([], None)
    assert report.summary is not None
    assert (report.summary.runs, report.summary.by_status, report.summary.costs) == (0, {}, [])
    assert (report.summary.first_at, report.summary.last_at) == (None, None)


@pytest.mark.parametrize("page_size", [1, 2, 3, 7])
async def test_every_run_stands_on_one_page_and_the_sums_on_the_first(bench: Bench, page_size: int) -> None:
    model, other = await bench.model("a"), await bench.model("b")
    runs = [await bench.run(*([model] * (n % 3)), model_version_id=model if n % 2 else other) for n in range(7)]
    expected = [run for n, run in enumerate(runs) if n % 2 or n % 3][::-1]
    walked, cursor = list[UUID](), None
    while True:
        page = await bench.report(cursor, page_size, model_version_id=model)
        assert (page.summary is None) == (cursor is not None)
        walked += [run.run_id for run in page.data]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert walked == expected
    assert (await bench.sums(model_version_id=model)).runs == len(expected)


async def test_a_cursor_is_of_what_it_was_given_for(bench: Bench) -> None:
    model, other = await bench.model("a"), await bench.model("b")
    for _ in range(2):
        await bench.run(model, other)
    cursor = (await bench.report(page_size=1, model_version_id=model)).next_cursor
    with pytest.raises(InvalidInput):
        await bench.report(cursor, model_version_id=other)


async def test_one_thing_is_asked_about(bench: Bench) -> None:
    model = await bench.model()
    for asked in (
        {},
        {"model_version_id": model, "tool_name": SEARCH},
        {"tool_version": 1},
        {"model_version_id": model, "tool_version": 1},
    ):
        with pytest.raises(InvalidInput):
            await bench.report(**asked)


async def test_of_another_workspace_nothing_is_there(bench: Bench, other_context: Context) -> None:
    model, prompt = await bench.model(), await bench.prompt()
    price = await bench.price(model)
    await bench.run(model, prompt_version_id=prompt)
    other = Bench(LedgerDesk(bench.desk.database, other_context))
    for asked in (
        {"model_version_id": model},
        {"prompt_version_id": prompt},
        {"price_version_id": price},
        {"tool_name": SEARCH},
        {"tool_name": "nowhere"},
        {"model_version_id": UNKNOWN},
    ):
        with pytest.raises(NotFound, match="no such version, price or tool"):
            await other.report(**asked)
    await other.desk.publish(*TOOLS)
    assert await other.touched(tool_name=SEARCH) == []
    with pytest.raises(NotFound):
        await other.report(tool_name=SEARCH, tool_version=2)


async def test_what_was_forgotten_is_reported_all_the_same(bench: Bench, maintenance: asyncpg.Connection) -> None:
    model = await bench.model()
    await bench.price(model)
    await bench.run(model, output="secret")
    before = await bench.report(model_version_id=model)
    assert await maintenance.fetchval("SELECT datalane.forget_agent_artifacts('0 days')") == 1
    assert await bench.report(model_version_id=model) == before


@pytest.fixture
async def app(database: Database) -> FastAPI:
    await register(database, {}, [], list(EVENTS))
    lane = OpenLane(database, Settings())
    return shared_app(lane, routes.router, agents=make_runtime(lane.settings).agents)


async def test_the_report_is_read_over_http(client: httpx.AsyncClient, ada: Person) -> None:
    async def post(path: str, **body: Any) -> Any:
        answer = await client.post(f"/agents/{path}", json=body, headers=ada.headers)
        assert answer.status_code < 300, answer.text
        return answer.json()

    model = (await post("models/register", provider="owls", model="owl-1"))["model_version_id"]
    run = await post("runs/begin", agent="helper", runtime="elsewhere", model_version_id=model)

    async def report(**query: Any) -> httpx.Response:
        return await client.get("/agents/rollback-report", params=query, headers=ada.headers)

    told = (await report(model_version_id=model)).json()
    assert [each["run_id"] for each in told["data"]] == [run["run_id"]]
    assert told["summary"]["by_status"] == {"running": 1}
    for query, status in (
        ({}, 422),
        ({"model_version_id": "x"}, 422),
        ({"tool_name": "\x00"}, 422),
        ({"tool_name": "a", "tool_version": 2**31}, 422),
        ({"model_version_id": str(UNKNOWN)}, 404),
    ):
        answer = await report(**query)
        assert answer.status_code == status, answer.text
        assert str(UNKNOWN) not in answer.json()["detail"]
