"""`datalane agents`: runs are listed, shown as trees and followed, and what a version touched is reported."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import pytest
from tests.conftest import a_context
from tests.integration.agents.desk import COUNT, ERASE, PAY, SEARCH, TOOLS, LedgerDesk

from datalane.agents.runs.schemas import NewStep
from datalane.agents.versions import models, prices
from datalane.agents.versions.schemas import NewAgentModel, NewModelPrice
from datalane.contracts.context import Context, Role
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.engine.registration import register
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7

Said = Any
Agents = Callable[..., Awaitable[Said]]
HOSTILE = "[red]mark[/red] \x1b[31mcolour\x1b[0m \u202eturned"


@pytest.fixture
def agents(urls: Prepared, home: Path, datalane: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> Agents:
    """`await agents("list", …)` on this test's lane, beside the test's own event loop."""
    monkeypatch.setenv("DATALANE_HOME", str(home))
    for name, value in urls.as_environment().items():
        monkeypatch.setenv(name, value)

    async def run(*arguments: object) -> Said:
        return await asyncio.to_thread(datalane, "agents", *map(str, arguments))

    return run


@pytest.fixture
async def desk(database: Database, context: Context) -> LedgerDesk:
    await register(database, {}, [], list(EVENTS))
    desk = LedgerDesk(database, context)
    await desk.publish(*TOOLS)
    return desk


@pytest.fixture
async def other(desk: LedgerDesk) -> LedgerDesk:
    """A desk in another workspace."""
    other = LedgerDesk(desk.database, a_context())
    await other.publish(*TOOLS)
    return other


def inside(desk: LedgerDesk) -> tuple[str, ...]:
    return ("--workspace", str(desk.context.workspace_id))


def lines(said: Said) -> list[Any]:
    assert said.status == 0, said.err
    return [orjson.loads(line) for line in said.out.splitlines()]


# Lists ------------------------------------------------------------------------------------------------------------


async def test_runs_of_all_workspaces_are_listed_without_what_they_are_about(
    agents: Agents, desk: LedgerDesk, other: LedgerDesk
) -> None:
    mine, theirs = await desk.hold("first"), await other.hold("second", input="secret")
    await desk.end(mine, "failed", error_class="timeout", error_message="secret", output="secret")
    said = await agents("list", "--json")
    assert [(row["run_id"], row["workspace_id"]) for row in said.json["runs"]] == [
        (str(theirs.run_id), str(other.context.workspace_id)),
        (str(mine.run_id), str(desk.context.workspace_id)),
    ]
    assert "secret" not in said.out
    for arguments, expected in (
        (("--agent", "second"), [theirs]),
        (("--status", "failed"), [mine]),
        (("--agent", "second", "--status", "failed"), []),
        (("--limit", "1"), [theirs]),
        (inside(desk), [mine]),
        ((*inside(other), "--agent", "first"), []),
        ((*inside(other), "--status", "running"), [theirs]),
    ):
        rows = (await agents("list", *arguments, "--json")).json["runs"]
        assert [row["run_id"] for row in rows] == [str(run.run_id) for run in expected], arguments
    text = (await agents("list")).out
    assert str(theirs.run_id) in text
    assert "timeout" in text
    assert "no runs" in (await agents("list", "--agent", "nobody")).out


async def test_what_makes_no_sense_is_said(agents: Agents, desk: LedgerDesk, other: LedgerDesk) -> None:
    run = await desk.hold()
    for arguments, code in (
        (("list", "--status", "lost"), "invalid_input"),
        (("list", "--workspace", "x"), "invalid_input"),
        (("show", "x", *inside(desk)), "invalid_input"),
        (("show", run.run_id, *inside(other)), "not_found"),
        (("show", uuid7(), *inside(desk)), "not_found"),
        (("rollback-report", *inside(desk)), "invalid_input"),
        (("rollback-report", *inside(desk), "--tool", SEARCH, "--model-version", uuid7()), "invalid_input"),
        (("rollback-report", *inside(desk), "--tool-version", 1), "invalid_input"),
        (("rollback-report", *inside(desk), "--price-version", "x"), "invalid_input"),
        (("rollback-report", *inside(desk), "--prompt-version", uuid7()), "not_found"),
    ):
        said = await agents(*arguments, "--json")
        assert (said.status, said.json["error"]["code"]) == (2, code), arguments


# Trees ------------------------------------------------------------------------------------------------------------


async def test_a_run_is_a_tree_in_the_order_of_its_entries_with_the_runs_inside_it(
    agents: Agents, desk: LedgerDesk
) -> None:
    run = await desk.hold("planner", input={"question": "Which herons?"})
    await desk.record(run, NewStep(kind="retrieval", name="look up", seconds=0.25))
    call = await desk.ask(run, arguments={"query": "heron"})
    assert await desk.fail(run, call.tool_call_id, retryable=True) == "retrying"
    await desk.start(run, call.tool_call_id)
    await desk.succeed(run, call.tool_call_id, ["grey"])
    await desk.record(run, NewStep(kind="model", name="chat", attempt=2, input_tokens=1_200, output_tokens=30))
    blocked = await desk.ask(run, ERASE)
    inner = await desk.hold("researcher", parent_run_id=run.run_id)
    innermost = await desk.hold("reader", parent_run_id=inner.run_id)
    for each in (innermost, inner):
        await desk.end(each)
    await desk.end(run, output="Grey ones.")
    said = await agents("show", run.run_id, *inside(desk))
    expected = [
        f"run {run.run_id} of planner: completed after",
        "used 1,200 in, 30 out; not known of 1 steps",
        "running, attempt 1 at first",
        "retrieval look up: 0.250 s",
        "call of search v1: succeeded in",
        "attempt 2 of 3; by rule tool.default",
        "attempt 1: retrying after",
        "provider_error: it was down",
        "attempt 2: succeeded after",
        'arguments: {"query":"heron"}',
        'result: ["grey"]',
        "model chat, attempt 2: 0.000 s, 1,200 in, 30 out, cost not known",
        "call of erase v1: blocked_policy",
        "by rule tool.role",
        "authz_denied",
        "completed",
        "output: Grey ones.",
        f"run {inner.run_id} of researcher",
        f"run {innermost.run_id} of reader",
    ]
    place = 0
    for part in expected:
        found = said.out.find(part, place)
        assert found >= 0, f"{part!r} is not behind what comes before it:\n{said.out}"
        place = found
    assert blocked.status == "blocked_policy"
    told = (await agents("show", run.run_id, *inside(desk), "--json")).json["run"]
    assert [each["agent"] for each in told["inner_runs"]] == ["researcher"]
    assert told["inner_runs"][0]["inner_runs"][0]["run_id"] == str(innermost.run_id)
    assert told["tool_calls"][0]["arguments"] == {"query": "heron"}


async def test_a_run_that_was_lost_shows_who_held_it_and_why_it_went_on(agents: Agents, desk: LedgerDesk) -> None:
    run = await desk.hold()
    taken = await desk.take(run.run_id, "second", now=utc_now() + timedelta(seconds=61))
    assert taken is not None
    await desk.end(taken)
    text = (await agents("show", run.run_id, *inside(desk))).out
    for part in ("attempt 2 of 3", "at first", "retrying (lease_lost); timeout", "running, attempt 2 at second"):
        assert part in text


async def test_what_moderation_decided_is_seen_with_the_citations_that_it_names(
    agents: Agents, desk: LedgerDesk
) -> None:
    run, cited = await desk.hold(), uuid7()
    recorded = (
        "SELECT datalane.record_agent_moderation($1, $2, 'output', 'flagged', 'rules 3', $3, 'half', ARRAY[$4::uuid])"
    )
    await desk.rows(recorded, run.run_id, run.lease_token, HOSTILE, cited)
    said = await agents("show", run.run_id, *inside(desk))
    flat = " ".join(part.strip("│├└─ ") for part in said.out.split())
    assert "output flagged by rules 3 ([red]mark[/red]" in flat
    assert f"half; citations suppressed: {cited}" in flat
    assert "\x1b[31m" not in said.out
    told = (await agents("show", run.run_id, *inside(desk), "--json")).json["run"]["moderations"]
    assert [(each["outcome"], each["citation_ids"]) for each in told] == [("flagged", [str(cited)])]


async def test_what_waits_for_a_person_is_seen(agents: Agents, desk: LedgerDesk) -> None:
    run = await desk.hold()
    await desk.ask(run, PAY, {"amount": 3})
    text = (await agents("show", run.run_id, *inside(desk))).out
    assert "call of pay v1: requested" in text
    assert "waits for a person" in text


async def test_what_somebody_wrote_does_nothing_to_the_terminal(agents: Agents, desk: LedgerDesk) -> None:
    run = await desk.hold(HOSTILE, input=HOSTILE)
    await desk.record(run, NewStep(kind="custom", name=HOSTILE, output=HOSTILE, error_message=HOSTILE))
    await desk.end(run, "failed", error_class="timeout", error_message=HOSTILE)
    for arguments in (("show", run.run_id, *inside(desk)), ("list",), ("list", *inside(desk))):
        said = await agents(*arguments)
        assert "\x1b" not in said.out
        assert "\u202e" not in said.out
        assert "[red]mark[/red]" in said.out


async def test_forgotten_values_are_told_to_be_so(agents: Agents, desk: LedgerDesk, urls: Prepared) -> None:
    run = await desk.hold(input="secret")
    await desk.succeed(run, (await desk.ask(run)).tool_call_id, "secret")
    await desk.end(run)
    connection = await asyncpg.connect(urls.maintenance_url)
    await connection.fetchval("SELECT datalane.forget_agent_artifacts('0 days')")
    await connection.close()
    text = (await agents("show", run.run_id, *inside(desk))).out
    assert "input and output are forgotten" in text
    assert "arguments and result are forgotten" in text


async def test_a_run_with_very_many_inside_it_is_cut_and_says_so(agents: Agents, desk: LedgerDesk) -> None:
    run = await desk.hold()
    async with desk.database.transaction(desk.context) as tx:
        await tx.execute(
            "SELECT datalane.begin_agent_run('inner', 'first', '1 minute', parent_run_id => $1) "
            "FROM generate_series(1, 210)",
            run.run_id,
        )
    said = await agents("show", run.run_id, *inside(desk))
    assert said.out.count("of inner: running") == 199
    assert "more runs inside it are not shown" in said.out


# Following --------------------------------------------------------------------------------------------------------


class Tail:
    """`datalane agents tail`, in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            return (await self.process.stdout.readline()).decode()

    async def changes(self, count: int) -> list[tuple[str, str | None, str]]:
        told = [orjson.loads(await self.line())["transition"] for _ in range(count)]
        return [(each["run_id"], each["tool_name"], each["to_status"]) for each in told]

    async def interrupt(self) -> tuple[int | None, str]:
        """The exit status, and what was printed that nobody read."""
        self.process.send_signal(signal.SIGINT)
        out, err = await self.process.communicate()
        assert b"Traceback" not in err
        return self.process.returncode, out.decode()


@asynccontextmanager
async def tailing(desk: LedgerDesk, urls: Prepared, *arguments: str) -> AsyncIterator[Tail]:
    """It follows when the block begins."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "datalane.cli.main", "agents", "tail", *inside(desk), *arguments),
        env={**os.environ, **urls.as_environment()},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    async with asyncio.timeout(20):
        begun = await process.stderr.readline()
    assert b"following" in begun, begun
    try:
        yield Tail(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_each_change_is_told_once_as_it_is_written_and_an_interrupt_ends_it(
    desk: LedgerDesk, other: LedgerDesk, urls: Prepared
) -> None:
    before = await desk.hold()
    old = await desk.hold()
    await desk.end(old)
    async with tailing(desk, urls, "--json") as tail:
        await other.hold()
        call = await desk.ask(before)
        assert await tail.changes(3) == [
            (str(before.run_id), SEARCH, "authorized"),
            (str(before.run_id), SEARCH, "executing"),
            (str(before.run_id), None, "waiting_tool"),
        ]
        await desk.succeed(before, call.tool_call_id)
        assert await tail.changes(2) == [
            (str(before.run_id), SEARCH, "succeeded"),
            (str(before.run_id), None, "running"),
        ]
        short = await desk.hold()
        await desk.end(short)
        assert await tail.changes(3) == [(str(short.run_id), None, to) for to in ("queued", "running", "completed")]
        assert await tail.interrupt() == (0, "")


async def test_what_commits_late_is_told_too(desk: LedgerDesk, urls: Prepared) -> None:
    run = await desk.hold()
    begun: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    commit = asyncio.Event()

    async def begin_late() -> None:
        async with desk.database.transaction(desk.context) as tx:
            [late] = await tx.fetch("SELECT run_id FROM datalane.begin_agent_run('late', 'first', '1 minute')")
            begun.set_result(str(late["run_id"]))
            await commit.wait()

    async with tailing(desk, urls, "--json") as tail:
        beginning = asyncio.create_task(begin_late())
        late = await begun
        await desk.ask(run, COUNT)
        assert {run_id for run_id, _, _ in await tail.changes(3)} == {str(run.run_id)}
        commit.set()
        await beginning
        assert await tail.changes(2) == [(late, None, to) for to in ("queued", "running")]


async def test_a_decision_about_a_run_that_is_over_is_told(desk: LedgerDesk, urls: Prepared) -> None:
    run = await desk.hold()
    call = await desk.ask(run, PAY)
    async with tailing(desk, urls, "--agent", "helper") as tail:
        await desk.hold("another")
        following = await desk.resolve(call.tool_call_id, approve=True)
        told = [await tail.line() for _ in range(3)]
    assert f"{run.run_id} helper: call of pay {call.tool_call_id} requested > authorized" in told[0]
    assert "(continued)" in told[1]
    assert f"{following} helper: run - > queued" in told[2]


# What a version touched -------------------------------------------------------------------------------------------


async def priced_model(desk: LedgerDesk) -> UUID:
    async with desk.database.transaction(desk.acting(Role.ADMIN).context) as tx:
        model = (await models.register_model(tx, NewAgentModel(provider="owls", model="owl-1"))).model_version_id
        rates = {"input_per_million": "3", "output_per_million": "15"}
        await prices.create_price(tx, NewModelPrice(model_version_id=model, currency="USD", **rates))  # type: ignore[arg-type]
    return model


async def answer(desk: LedgerDesk, run_id: UUID, citations: int) -> UUID:
    """An answer that the run gave. What it cites has nothing to do with the report."""
    response, segment = uuid7(), uuid7()
    async with desk.database.transaction(desk.context) as tx:
        who = tx.workspace_id
        await tx.execute(
            "INSERT INTO datalane.responses (workspace_id, response_id, agent_run_id, actor_id, correlation_id) "
            "VALUES ($1, $2, $3, $1, 'c')",
            *(who, response, run_id),
        )
        await tx.execute(
            "INSERT INTO datalane.response_segments (workspace_id, response_segment_id, response_id, ordinal, "
            "start_offset, end_offset, text) VALUES ($1, $2, $3, 0, 0, 1, 'x')",
            *(who, segment, response),
        )
        for _ in range(citations):
            await tx.execute(
                "INSERT INTO datalane.citations (workspace_id, citation_id, response_id, response_segment_id, "
                "agent_run_id, document_id, version_id, chunk_id, quote_start_offset, quote_end_offset, quote_sha256, "
                "evidence_type, confidence_score, confidence_band) "
                "VALUES ($1, $2, $3, $4, $5, $2, $2, $2, 0, 1, '\\x00', 'direct', 1, 'high')",
                *(who, uuid7(), response, segment, run_id),
            )
    return response


async def test_from_a_model_to_every_run_answer_and_citation(agents: Agents, desk: LedgerDesk) -> None:
    model = await priced_model(desk)
    runs = []
    for number in range(3):
        run = await desk.hold(model_version_id=model)
        used: dict[str, Any] = {"input_tokens": 1_000, "output_tokens": 100}
        await desk.record(run, NewStep(kind="model", name="chat", model_version_id=model, **used))
        await desk.end(
            run, *(("failed",) if number == 2 else ()), **({"error_class": "timeout"} if number == 2 else {})
        )
        runs.append(run.run_id)
    one, two = await answer(desk, runs[0], 2), await answer(desk, runs[0], 0)
    await answer(desk, (await desk.hold()).run_id, 1)
    asked = ("rollback-report", *inside(desk), "--model-version", model)
    summary, *told = lines(await agents(*asked, "--json"))
    assert {name: summary["summary"][name] for name in ("runs", "named_steps", "answers", "citations")} == {
        "runs": 3,
        "named_steps": 3,
        "answers": 2,
        "citations": 2,
    }
    assert summary["summary"]["by_status"] == {"completed": 2, "failed": 1}
    assert [each["run"]["run_id"] for each in told] == [str(run_id) for run_id in reversed(runs)]
    given = [(each["response_id"], each["citations"]) for each in told[-1]["run"]["answers"]]
    assert given == [(str(one), 2), (str(two), 0)]
    text = (await agents(*asked, "--limit", 1)).out
    for part in (
        "2, with 2 citations",
        "2 completed, 1 failed",
        "0.0135 USD, 0.0135 by what is asked about",
        "and 2 more",
    ):
        assert part in text
    assert (str(runs[2]) in text, str(runs[1]) in text) == (True, False)


async def test_a_tool_is_asked_about_by_name_and_version(agents: Agents, desk: LedgerDesk) -> None:
    run = await desk.hold()
    await desk.ask(run)
    for version in ((), ("--tool-version", 1)):
        said = await agents("rollback-report", *inside(desk), "--tool", SEARCH, *version, "--json")
        summary, told = lines(said)
        assert (summary["summary"]["named_calls"], told["run"]["run_id"]) == (1, str(run.run_id))
    none = await agents("rollback-report", *inside(desk), "--tool", COUNT)
    assert (none.status, "runs" in none.out) == (0, True)
