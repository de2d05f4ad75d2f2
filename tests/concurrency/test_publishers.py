"""Many publishers whose transactions commit in an order that nobody knows: each committed event is handled once by each
handler and rule, and none that rolled back is."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.concurrency.checker import at_rest
from tests.concurrency.child_worker import SHORT_LEASES
from tests.concurrency.test_kills import start
from tests.concurrency.test_races import Undone, seeds
from tests.conftest import a_context
from tests.integration.engine.lab import Lab
from tests.integration.engine.workers import cut_all_connections, working

from datalane.contracts.context import Context, Role
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.engine.actions import Actions
from datalane.engine.events import publish
from datalane.engine.handlers import Handlers
from datalane.integrations.automation import service
from datalane.integrations.automation.execution import Execution
from datalane.integrations.automation.schemas import NewRule, RuleAction
from datalane.integrations.runtime import Integrations, make_integrations
from datalane.settings import Settings
from datalane.work.items.actions import register_actions

PUBLISHERS = 64
RULES = Path(__file__).with_name("child_rules.py")


async def publish_late(database: Database, context: Context, draw: random.Random, name: str) -> list[str]:
    """Three transactions that publish at once and commit whenever they like; some roll back. Answers what committed."""
    committed = []
    for turn in range(3):
        source_id = f"{name}-{turn}"
        try:
            async with database.transaction(context) as tx:
                await publish(tx, "thing.happened", {}, source_event_id=source_id, subject_id=draw.choice("abcdef"))
                await asyncio.sleep(draw.random() * 0.05)  # how late it commits, not a wait for anything
                if draw.random() < 0.2:
                    raise Undone
        except Undone:
            continue
        committed.append(source_id)
    return committed


@pytest.fixture
async def integrations() -> AsyncIterator[Integrations]:
    actions = Actions()
    register_actions(actions)
    made = make_integrations(Settings(), actions)
    yield made
    await made.aclose()


async def make_rule(database: Database, integrations: Integrations, context: Context, title: str) -> None:
    arguments: dict[str, Any] = {"title": title, "metadata": {"of": {"cel": "event.subject_id"}}}
    actions = [RuleAction(action="item.create", arguments=arguments)] * 2
    new = NewRule(name=title, event_type="thing.happened", condition="event.subject_id != 'f'", actions=actions)
    version = await integrations.publishing.check(context, new.condition, actions)
    async with database.transaction(context) as tx:
        await service.create_rule(tx, new, version)


@pytest.mark.parametrize("seed", seeds(1, 8))
async def test_each_of_64_publishers_events_runs_each_rule_once_over_cut_connections(
    database: Database, urls: Prepared, integrations: Integrations, seed: int
) -> None:
    draw, context = random.Random(seed), a_context(role=Role.ADMIN)
    EVENTS.register("thing.happened", {"type": "object"})
    async with Lab.opened(database) as lab:
        await lab.register()
    for title in ("one", "two"):
        await make_rule(database, integrations, context, title)
    told = await asyncio.gather(*(publish_late(database, context, draw, str(number)) for number in range(PUBLISHERS)))

    def handlers() -> Handlers:
        known = Handlers()
        Execution(database, integrations.conditions, integrations.actions).register(known)
        return known

    async with working(database, handlers(), SHORT_LEASES), working(database, handlers(), SHORT_LEASES):
        for _ in range(3):
            await asyncio.sleep(draw.random() / 4)  # the moment of the cut
            await cut_all_connections(database)
        judge = await Database.connect(urls.database_url)  # whose connections are not among those
        try:
            await at_rest(judge, [context])
            await check_runs(judge, context, [one for names in told for one in names])
        finally:
            await judge.close()


@pytest.mark.parametrize("seed", seeds(1, 8))
async def test_killed_workers_run_each_rule_once_and_leave_no_child(
    database: Database, urls: Prepared, integrations: Integrations, seed: int
) -> None:
    draw, context = random.Random(seed), a_context(role=Role.ADMIN)
    EVENTS.register("thing.happened", {"type": "object"})
    async with Lab.opened(database) as lab:
        await lab.register()
    for title in ("one", "two"):
        await make_rule(database, integrations, context, title)
    processes, orphans = [await start(urls.database_url, RULES) for _ in range(2)], list[psutil.Process]()
    try:
        told = await asyncio.gather(
            *(publish_late(database, context, draw, str(number)) for number in range(PUBLISHERS))
        )
        for _ in range(2):
            await asyncio.sleep(draw.random() / 8)  # the moment of the kill
            victim = processes.pop(draw.randrange(len(processes)))
            orphans += psutil.Process(victim.pid).children()
            victim.send_signal(signal.SIGKILL)
            await victim.wait()
            processes.append(await start(urls.database_url, RULES))
        await at_rest(database, [context])
    finally:
        for process in processes:
            process.kill()
            await process.wait()
    await check_runs(database, context, [one for names in told for one in names])
    gone, alive = await asyncio.to_thread(psutil.wait_procs, orphans, 10)
    assert (alive, len(gone)) == ([], len(orphans))


async def check_runs(database: Database, context: Context, published: list[str]) -> None:
    """Every event has one run of each rule, and each that holds left its two items, no more."""
    async with database.transaction(context) as tx:
        events = await tx.fetch(
            "SELECT event_id, source_event_id, subject_id FROM datalane.events WHERE event_type = 'thing.happened'"
        )
        runs = await tx.fetch(
            "SELECT r.event_id, u.name, r.status, r.error_class FROM datalane.automation_runs r "
            "JOIN datalane.automation_rules u ON u.rule_id = r.rule_id"
        )
        items = await tx.fetch("SELECT title, metadata ->> 'of' AS subject FROM datalane.items")
        caused = await tx.fetch("SELECT causation_id FROM datalane.events WHERE event_type = 'item.created'")
    assert sorted(row["source_event_id"] for row in events) == sorted(published)
    wanted = {row["event_id"]: "skipped" if row["subject_id"] == "f" else "completed" for row in events}
    assert Counter((row["event_id"], row["name"], row["status"]) for row in runs) == Counter(
        (event_id, name, status) for event_id, status in wanted.items() for name in ("one", "two")
    )
    subjects = Counter(row["subject_id"] for row in events if row["subject_id"] != "f")
    assert Counter((row["title"], row["subject"]) for row in items) == Counter(
        {(name, subject): 2 * count for subject, count in subjects.items() for name in ("one", "two")}
    )
    assert Counter(row["causation_id"] for row in caused) == Counter(
        {event_id: 4 for event_id, status in wanted.items() if status == "completed"}
    )
