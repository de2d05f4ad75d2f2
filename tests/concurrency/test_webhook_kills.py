"""kill -9 of workers that deliver webhooks; SQL counts what they left behind, and the receiver what it got."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from tests.conftest import a_context
from tests.integration.engine.lab import eventually
from tests.integration.integrations.hooks import Hooks, register_types, settings_of
from tests.integration.integrations.sink import Sink, Taken, answer, hang, hang_up, listening

from datalane.contracts.context import Role
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.kit.envelope import MasterKeys
from datalane.settings import JobSettings, Pauses, Settings

CHILD = Path(__file__).with_name("child_webhooks.py")
KEY = "the master key of the lane that loses its workers"
EVENTS, SUBJECTS, PATIENCE = 2_500, 70, 120
FAULTS = {
    "an event has no delivery to an endpoint, or more than one": """
        SELECT count(*) FROM (
            SELECT e.event_id, p.endpoint_id, count(d.delivery_id) AS made
            FROM datalane.events e CROSS JOIN datalane.webhook_endpoints p
            LEFT JOIN datalane.webhook_deliveries d ON d.event_id = e.event_id AND d.endpoint_id = p.endpoint_id
            WHERE e.event_type = 'invoice.paid' GROUP BY 1, 2) AS counted WHERE made <> 1""",
    "a delivery is not in a final state": """
        SELECT count(*) FROM datalane.webhook_deliveries WHERE status NOT IN ('delivered', 'dead_letter')""",
    "a delivery does not have as many attempts as it counts, or none": """
        SELECT count(*) FROM datalane.webhook_deliveries d LEFT JOIN (
            SELECT delivery_id, count(*) AS made FROM datalane.webhook_attempts GROUP BY 1) AS a USING (delivery_id)
        WHERE attempt_count = 0 OR attempt_count <> coalesce(made, 0)""",
    "a delivery does not have as many failures as it counts": """
        SELECT count(*) FROM datalane.webhook_deliveries d LEFT JOIN (
            SELECT delivery_id, count(*) AS failed FROM datalane.webhook_attempts
            WHERE outcome = 'failed' GROUP BY 1) AS a USING (delivery_id)
        WHERE failure_count <> coalesce(failed, 0)""",
    "a delivered one has no attempt that delivered, or several, or one after it": """
        SELECT count(*) FROM datalane.webhook_deliveries d LEFT JOIN (
            SELECT delivery_id, array_agg(attempt) AS taken FROM datalane.webhook_attempts
            WHERE outcome = 'delivered' GROUP BY 1) AS a USING (delivery_id)
        WHERE status = 'delivered' AND ARRAY[attempt_count] IS DISTINCT FROM taken""",
    "a dead letter was delivered": """
        SELECT count(*) FROM datalane.webhook_deliveries d JOIN datalane.webhook_attempts a USING (delivery_id)
        WHERE d.status = 'dead_letter' AND a.outcome = 'delivered'""",
    "an attempt has no outcome": """
        SELECT count(*) FROM datalane.webhook_attempts WHERE outcome IS NULL""",
    "a job is left": "SELECT count(*) FROM datalane.jobs",
}


async def start(settings: Settings, url: str) -> Process:
    """A worker process that claims already."""
    written = json.loads(settings.model_dump_json()) | {"database_url": url, "master_key": KEY}
    process = await asyncio.create_subprocess_exec(sys.executable, str(CHILD), json.dumps(written), stdout=PIPE)
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readuntil(b"ready\n"), 60)
    return process


async def kill_at_work(hooks: Hooks, processes: list[Process], order: Sequence[Process]) -> None:
    """Kill one of the workers that holds a job. It is stopped for the look, so that it still does."""
    held = "SELECT count(*) FROM datalane.jobs WHERE status = 'processing' AND leased_by LIKE '%:' || $1 || ':%'"

    async def caught() -> Process | None:
        for process in order:
            process.send_signal(signal.SIGSTOP)
            if (await hooks.rows(held, str(process.pid)))[0][0]:
                return process
            process.send_signal(signal.SIGCONT)
        return None

    victim = await eventually(caught, PATIENCE)
    assert victim is not None
    victim.send_signal(signal.SIGKILL)
    await victim.wait()
    processes.remove(victim)


def unreliable(draw: random.Random, sink: Sink) -> None:
    """Most are taken; some are refused, cut off or never answered."""

    async def reply(taken: Taken, writer: asyncio.StreamWriter) -> None:
        chosen = draw.choices((answer(204), answer(500), hang_up, hang), (85, 9, 3, 3))[0]
        await chosen(taken, writer)

    sink.reply = reply


async def count_faults(hooks: Hooks) -> dict[str, int]:
    return {rule: (await hooks.rows(sql))[0][0] for rule, sql in FAULTS.items()}


def out_of_order(taken: Sequence[Taken]) -> list[str]:
    """Subjects of the ordered endpoint whose messages did not arrive in their order, repetitions left out."""
    arrived: dict[str, list[int]] = defaultdict(list)
    for each in taken:
        invoice = each.message["data"]["invoice"]
        if each.path.endswith("/ordered") and invoice not in arrived[each.message["subject_id"]]:
            arrived[each.message["subject_id"]].append(invoice)
    return [subject for subject, invoices in arrived.items() if invoices != sorted(invoices)]


@pytest.mark.parametrize(("deaths", "seed"), [(5, 0), pytest.param(50, 1, marks=pytest.mark.soak)])
async def test_killed_workers_lose_no_event_and_leave_every_delivery_ended(
    urls: Prepared, deaths: int, seed: int
) -> None:
    """Two endpoints, so 5,000 deliveries."""
    draw, a_turn = random.Random(seed), EVENTS // deaths
    settings = settings_of(pauses=Pauses.read(",".join(["0.2"] * 9)), timeout=timedelta(seconds=0.5)).model_copy(
        update={"jobs": JobSettings(lease=timedelta(seconds=2), heartbeat=timedelta(seconds=0.5), rescues=deaths + 1)}
    )
    database = await Database.connect(urls.database_url, master_keys=lambda: MasterKeys(KEY))
    processes: list[Process] = []
    try:
        async with listening() as sink:
            unreliable(draw, sink)
            await register_types(database)
            hooks = Hooks(database, a_context(role=Role.ADMIN), settings)
            for path, ordered in (("/plain", False), ("/ordered", True)):
                await hooks.create(sink.url + path, ordered=ordered)
            processes = [await start(settings, urls.database_url) for _ in range(2)]
            for death in range(deaths):
                before, invoices = len(sink.taken), range(death * a_turn, (death + 1) * a_turn)
                await hooks.pay(*invoices, subject=lambda invoice: f"order {invoice % SUBJECTS}")
                await sink.until(before + draw.randint(1, a_turn // 2), PATIENCE)
                await kill_at_work(hooks, processes, draw.sample(processes, len(processes)))
                processes.append(await start(settings, urls.database_url))
            await eventually(lambda: _at_rest(hooks), PATIENCE)
            assert await count_faults(hooks) == dict.fromkeys(FAULTS, 0)
            received = {(taken.path, taken.message_id) for taken in sink.taken}
            assert len(received) == 2 * EVENTS
            assert out_of_order(sink.taken) == []
            rescued = await hooks.rows("SELECT count(*) FROM datalane.job_history WHERE rescue_count > 0")
            assert rescued[0][0] > 0, "the kills met jobs that were being done"
    finally:
        for process in processes:
            process.kill()
            await process.wait()
        await database.close()


async def _at_rest(hooks: Hooks) -> bool:
    return not await hooks.rows("SELECT FROM datalane.jobs WHERE status NOT IN ('failed', 'dead_letter') LIMIT 1")


@pytest.mark.parametrize(
    ("damage", "noticed"),
    [
        ("DELETE FROM datalane.webhook_attempts", 2),
        ("UPDATE datalane.webhook_attempts SET outcome = NULL, ended_at = NULL", 2),
        ("UPDATE datalane.webhook_deliveries SET status = 'failed', ended_at = NULL", 1),
        ("UPDATE datalane.webhook_deliveries SET event_id = app.uuid7()", 1),
        ("UPDATE datalane.webhook_deliveries SET status = 'dead_letter'", 1),
        ("UPDATE datalane.webhook_deliveries SET failure_count = 3", 1),
    ],
)
async def test_the_count_notices_what_a_kill_could_leave(database: Database, damage: str, noticed: int) -> None:
    hooks = Hooks.of(database, a_context())
    await register_types(database)
    async with listening() as sink:
        await hooks.create(sink.url)
        await hooks.pay(1, 2)
        async with hooks.working():
            await hooks.until(2)
            await hooks.until_idle()
        assert await count_faults(hooks) == dict.fromkeys(FAULTS, 0)
        async with database.transaction(hooks.admin) as tx:
            await tx.execute(damage)
        assert sum(count > 0 for count in (await count_faults(hooks)).values()) == noticed
