"""What the settings name is cut out at every door where contents of agents are stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.conftest import MASTER_KEYS
from tests.integration.agents.desk import CREATE, PAY, TOOLS, LedgerDesk
from tests.integration.agents.safety.test_moderation import everything
from tests.integration.agents.spans.telling import Receiver, agent, chat, tool

from datalane.agents.recorder import Agents
from datalane.agents.recorder.toolbox import Toolbox
from datalane.agents.runs.schemas import NewStep
from datalane.agents.tools.policy import digest_arguments
from datalane.contracts.context import Context
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.engine.registration import register
from datalane.lane import redaction_of
from datalane.settings import AgentSettings, RedactionSettings, Settings

SETTINGS = Settings(
    agents=AgentSettings(redaction=RedactionSettings(names=("date_of_birth",), detect=("email", "card", "iban")))
)
PERSON: dict[str, Any] = {"to": ["write to ada@example.com"], "card": 4111111111111111, "dateOfBirth": "1 May 1990"}
MASKED = {"to": ["write to [redacted]"], "card": "[redacted]", "dateOfBirth": "[redacted]"}
LEAKS = ("ada@", "4111", "1990", "DE89")


@pytest.fixture
async def desk(urls: Prepared, context: Context) -> AsyncIterator[LedgerDesk]:
    database = await Database.connect(
        urls.database_url, master_keys=lambda: MASTER_KEYS, redaction=redaction_of(SETTINGS)
    )
    await register(database, {}, [], list(EVENTS))
    made = LedgerDesk(database, context)
    await made.publish(*TOOLS)
    yield made
    await database.close()


async def test_every_door_of_the_ledger_cuts_out_what_the_settings_name(desk: LedgerDesk) -> None:
    run = await desk.hold(input=PERSON)
    step = NewStep(
        kind="model",
        name="chat",
        input=PERSON,
        output=PERSON,
        error_class="timeout",
        error_message="for ada@example.com",
    )
    await desk.record(run, step)
    call = await desk.ask(run, CREATE, PERSON, idempotency_key="k")
    await desk.succeed(run, call.tool_call_id, PERSON)
    again = await desk.ask(run, CREATE, PERSON, idempotency_key="k")
    assert (again.is_replay, again.result) == (True, MASKED)
    failing = await desk.ask(run, CREATE, PERSON)
    await desk.fail(run, failing.tool_call_id)
    told = await desk.end(
        run, "failed", output=PERSON, error_class="timeout", error_message="DE89 3704 0044 0532 0130 00 is wrong"
    )
    assert (told.input, told.output, told.error_message) == (MASKED, MASKED, "[redacted] is wrong")
    assert (told.steps[0].input, told.steps[0].output, told.steps[0].error_message) == (
        MASKED,
        MASKED,
        "for [redacted]",
    )
    assert [each.arguments for each in told.tool_calls] == [MASKED] * 3
    digests = await desk.rows("SELECT DISTINCT arguments_digest FROM datalane.tool_calls")
    assert digests == [(digest_arguments(PERSON),)]
    stored = await everything(desk)
    assert [leak for leak in LEAKS if leak in stored] == []


async def test_what_a_person_approves_and_what_goes_on_from_it_is_what_was_kept(desk: LedgerDesk) -> None:
    run = await desk.hold(input=PERSON)
    call = await desk.ask(run, PAY, PERSON)
    following = await desk.resolve(call.tool_call_id, approve=True)
    assert following is not None
    taken = await desk.take(following)
    assert taken is not None
    assert (await desk.show(following)).input == MASKED
    assert (await desk.ask(taken, PAY, PERSON)).status == "executing", "the approval is of the arguments as they were"


async def test_what_a_block_says_and_raises_is_redacted(desk: LedgerDesk) -> None:
    agents = Agents(desk.database.transaction, Toolbox())

    async def work() -> None:
        async with agents.run(desk.context, "helper", input=PERSON) as run, run.tool(CREATE, PERSON):
            raise ValueError("nobody is ada@example.com")

    with pytest.raises(ValueError, match="ada@"):
        await work()
    stored = await everything(desk)
    assert [leak for leak in LEAKS if leak in stored] == []
    assert "nobody is [redacted]" in stored


async def test_spans_are_redacted_before_they_are_kept(desk: LedgerDesk) -> None:
    said = '{"to": "ada@example.com", "date_of_birth": "1 May 1990"}'
    receiver = Receiver(desk.database, desk.context, redaction_of(SETTINGS))
    await receiver.take(
        agent().saying(output__messages=said),
        chat(2).saying(input__messages=said, output__messages="DE89 3704 0044 0532 0130 00"),
        tool(3).saying(tool__call__arguments=said, tool__call__result="card 4111 1111 1111 1111"),
    )
    run = await receiver.run()
    masked = {"to": "[redacted]", "date_of_birth": "[redacted]"}
    assert (run.output, run.steps[0].input, run.tool_calls[0].arguments) == (masked, masked, masked)
    assert (run.steps[0].output, run.tool_calls[0].result) == ("[redacted]", "card [redacted]")
    spans = await desk.rows("SELECT s::text FROM datalane.agent_spans s")
    stored = await everything(desk) + str(spans)
    assert [leak for leak in LEAKS if leak in stored] == []
