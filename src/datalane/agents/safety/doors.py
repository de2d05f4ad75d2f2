"""How runtimes elsewhere have their contents judged: before the transaction of the request, which would wait else."""

from __future__ import annotations

from typing import Any

from datalane.agents.budgets.admitting import take_admitted
from datalane.agents.permissions import RECORD_RUNS
from datalane.agents.runs import recording
from datalane.agents.runs.schemas import BegunRun, CallToRequest, CallToSucceed, EndedRun, NewRun, RunEnd, TakenRun
from datalane.agents.runs.schemas import RunToTake as ToTake
from datalane.agents.safety.admitting import begin_judged, end_judged, read_unjudged_input, settle_taken
from datalane.agents.safety.judging import Judged, Safety
from datalane.agents.safety.moderator import About
from datalane.contracts.context import Context
from datalane.contracts.http import Door, LateTransaction
from datalane.db.transaction import Transaction
from datalane.engine.meters import Meters

Given = Transaction | LateTransaction
"""What a route is given: its transaction is open already where nobody is to be asked before."""


def opener(door: Door, safety: Safety) -> Any:
    """The dependency of a route whose contents may be judged."""
    return door.writer(RECORD_RUNS) if safety.moderator is None else door.preparer(RECORD_RUNS)


async def opened(given: Given) -> Transaction:
    if isinstance(given, Transaction):
        return given
    tx: Transaction = await given.begin()
    return tx


async def begin(given: Given, meters: Meters, safety: Safety, new: NewRun) -> BegunRun:
    """As `begin_judged`."""
    about = About.of(given.context, agent=new.agent)
    judged = None if new.runtime is None else await safety.judge("input", new.input, about)
    return await begin_judged(await opened(given), meters, new, judged)


async def take(door: Door, given: Given, meters: Meters, safety: Safety, wanted: ToTake) -> TakenRun:
    """As `take_admitted`. An input that was not judged before is judged when the run is held."""
    if not safety.wants("input"):
        return await _take(await opened(given), meters, wanted)
    async with door.transaction(given.context) as tx:
        taken = await _take(tx, meters, wanted)
        unjudged = None if taken.lease_token is None else await read_unjudged_input(tx, wanted.run_id)
    judged = await safety.judge("input", unjudged, About.of(given.context, run_id=wanted.run_id))
    return await settle_taken(await opened(given), taken, judged)


async def end(door: Door, given: Given, safety: Safety, end: RunEnd) -> EndedRun:
    """As `end_judged`. What names citations is recorded as the lane itself, in a transaction of its own."""
    judged = await safety.judge("output", end.output, About.of(given.context, run_id=end.run_id))
    if judged is None or not judged.citation_ids:
        return await end_judged(await opened(given), end, judged, safety.citations)
    async with door.transaction(judged.recording(given.context)) as tx:
        ended = await end_judged(tx, end, judged, safety.citations)
    await opened(given)
    return ended


async def judge_arguments(context: Context, safety: Safety, call: CallToRequest) -> Judged | None:
    return await safety.judge(
        "arguments", call.arguments, About.of(context, run_id=call.run_id, tool_name=call.tool_name)
    )


async def judge_result(context: Context, safety: Safety, call: CallToSucceed) -> Judged | None:
    return await safety.judge("result", call.result, About.of(context, run_id=call.run_id))


async def _take(tx: Transaction, meters: Meters, wanted: ToTake) -> TakenRun:
    held = await recording.take_run(tx, wanted.run_id, wanted.runtime, recording.lease_of(wanted.lease_seconds))
    return await take_admitted(tx, meters, held, wanted.run_id)
