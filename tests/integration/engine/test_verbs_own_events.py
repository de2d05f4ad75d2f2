"""Verbs that publish about the lane itself pass by the library's check of payloads: what they store must match it."""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from tests.integration.agents.desk import ERASE, PAY, TOOLS, LedgerDesk
from tests.integration.agents.spans.telling import Receiver, agent, chat
from tests.integration.engine.lab import LEASE, Lab, after, ranked

from datalane.access.entitlements.plans import Plan, Plans, Quota, register_plans
from datalane.agents.runs.sweeping import sweep_once
from datalane.contracts.context import Context, Role
from datalane.contracts.registry import BUILT_IN, EVENTS
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.errors import SchemaViolation
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7

VERBS = """
SELECT p.proname, pg_get_functiondef(p.oid) AS definition, EXISTS (
    SELECT FROM aclexplode(p.proacl) a JOIN pg_roles r ON r.oid = a.grantee
    WHERE r.rolname IN ('datalane_app', 'datalane_signin', 'datalane_worker', 'datalane_maintenance')) AS granted
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'datalane'
"""
BURYING = ("cancel_jobs", "fail_job", "fail_job_here", "skip_job", "rescue_jobs", "reclaim_jobs")
USING = ("consume", "consume_batch", "consume_sold", "reserve_usage", "commit_usage", "correct_usage")
EVENTS_OF = "SELECT event_id, event_type, version, payload FROM datalane.events ORDER BY event_id"


async def verbs_that_publish(database: Database) -> set[str]:
    """The granted verbs from which calls lead to `publish_for`, as the database's own sources say."""
    async with database.pool.acquire() as connection:
        rows = await connection.fetch(VERBS)
    calls = {row["proname"]: set(re.findall(r"datalane\.(\w+)\(", row["definition"])[1:]) for row in rows}
    leads = {"publish_for"}
    while found := {name for name, called in calls.items() if called & leads} - leads:
        leads |= found
    return {row["proname"] for row in rows if row["granted"]} & leads


class Story:
    """Verbs called one after another, and the events each of them left."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.told: dict[str, set[str]] = {}
        self._seen: set[UUID] = set()

    async def check(self, verb: str, home: Context) -> None:
        """The events that `verb` left in `home` match the schemas of their types, in every field."""
        rows = [row for row in await self.lab.rows(home, EVENTS_OF) if row["event_id"] not in self._seen]
        for row in rows:
            check_payload(row["event_type"], row["version"], row["payload"])
        self._seen |= {row["event_id"] for row in rows}
        self.told.setdefault(verb, set()).update(row["event_type"] for row in rows)

    async def as_admin(self, home: Context, verb: str, *arguments: object) -> None:
        slots = ", ".join(f"${place}" for place, _ in enumerate(arguments, 1))
        async with self.lab.database.transaction(ranked(home, Role.ADMIN)) as tx:
            await tx.execute(f"SELECT datalane.{verb}({slots})", *arguments)
        await self.check(verb, home)


def check_payload(event_type: str, version: int, payload: dict[str, Any]) -> None:
    EVENTS.check(event_type, version, payload)
    unnamed = set(payload) - set(BUILT_IN[event_type]["properties"])
    assert not unnamed, f"the schema of {event_type} does not name {unnamed}"


async def sign_up(story: Story, name: str) -> Context:
    async with story.lab.database.sign_in_door() as tx:
        made = await tx.fetchrow(
            "SELECT user_id, workspace_id FROM datalane.sign_up($1, $2, 'no hash', 'Home', 'c')",
            *(f"{name}@example.com", name),
        )
    assert made is not None
    home = Context(made["workspace_id"], made["user_id"], Role.OWNER)
    await story.check("sign_up", home)
    return home


async def live_together(story: Story) -> Context:
    """Every verb about workspaces and their members. Answers an owner."""
    ada, bob = await sign_up(story, "ada"), await sign_up(story, "bob")
    async with story.lab.database.sign_in_door() as tx:
        second: UUID = await tx.fetchval(
            "SELECT workspace_id FROM datalane.create_workspace_for($1, 'Second', 'c')", ada.actor_id
        )
    await story.check("create_workspace_for", Context(second, ada.actor_id, Role.OWNER))
    async with story.lab.database.transaction(ada) as tx:
        third: UUID = await tx.fetchval("SELECT workspace_id FROM datalane.create_workspace('Third')")
    await story.check("create_workspace", Context(third, ada.actor_id, Role.OWNER))
    await join(story, ada, bob)
    await story.as_admin(ada, "change_member", bob.actor_id, "member", "suspended")
    await story.as_admin(ada, "remove_member", bob.actor_id)
    invite = await come_back(story, ada)
    await story.as_admin(ada, "revoke_invite", invite)
    await join(story, ada, bob)
    there = Context(ada.workspace_id, bob.actor_id, Role.MEMBER)
    async with story.lab.database.transaction(there) as tx:
        await tx.execute("SELECT datalane.leave_workspace()")
    await story.check("leave_workspace", ada)
    await join(story, ada, bob)
    async with story.lab.database.transaction(ada) as tx:
        await tx.execute("SELECT datalane.transfer_ownership($1)", bob.actor_id)
    await story.check("transfer_ownership", ada)
    return ada


async def come_back(story: Story, home: Context) -> UUID:
    """An invite to bob, with a secret that is known here."""
    invite = uuid7()
    secret = hashlib.sha256(b"invited").digest()
    async with story.lab.database.transaction(home) as tx:
        await tx.execute("SELECT datalane.create_invite($1, $2, 'bob@example.com', 'viewer', '7 days')", invite, secret)
    await story.check("create_invite", home)
    return invite


async def join(story: Story, home: Context, person: Context) -> None:
    invite, session = await come_back(story, home), uuid7().bytes * 2
    async with story.lab.database.sign_in_door() as tx:
        await tx.execute("SELECT datalane.start_session($1, $2, interval '1 hour')", person.actor_id, session)
        await tx.execute(
            "SELECT datalane.accept_invite($1, $2, $3, $4, 'c')",
            *(session, home.workspace_id, invite, hashlib.sha256(b"invited").digest()),
        )
    await story.check("accept_invite", home)


async def enter(story: Story) -> None:
    """Somebody new whom an issuer vouches for."""
    async with story.lab.database.sign_in_door() as tx:
        entered: UUID = await tx.fetchval(
            "SELECT user_id FROM datalane.enter_by_identity('issuer', 's', 'eve@example.com', 'Eve', 'Home', 'c')"
        )
        home: UUID = await tx.fetchval("SELECT workspace_id FROM datalane.my_workspaces($1)", entered)
    await story.check("enter_by_identity", Context(home, entered, Role.OWNER))


async def reuse_a_refresh_token(story: Story, home: Context) -> None:
    """A session whose refresh token comes with another second part."""
    begin = "SELECT datalane.start_session($1, sha256('t'), $2, sha256('family'), sha256('first'), $2)"
    reuse = (
        "SELECT datalane.refresh_session(sha256('family'), sha256('former'), sha256('t2'), sha256('r2'), $1, $1, 'c')"
    )
    async with story.lab.database.sign_in_door() as tx:
        await tx.execute(begin, home.actor_id, timedelta(hours=1))
        await tx.execute(reuse, timedelta(hours=1))
    await story.check("refresh_session", home)


async def bury_jobs(story: Story, home: Context) -> None:
    """Every way in which a job becomes a dead letter."""
    lab = story.lab
    (canceled,) = await lab.enqueue(home)
    await story.as_admin(home, "cancel_jobs", [canceled])
    await lab.enqueue(home, max_attempts=1)
    await lab.fail(await lab.claim_one())
    await story.check("fail_job", home)
    await lab.enqueue(home, max_attempts=1)
    job = await lab.claim_one()
    await story.as_admin(home, "fail_job_here", job.id, job.lease_token, "timeout", "too slow", after(5) - after(0))
    await lab.enqueue(home, order_key="line")
    stopped = await lab.claim_one()
    await lab.fail(stopped, retry_after=None)
    await story.as_admin(home, "skip_job", stopped.id)
    await lab.enqueue(home)
    await lab.extend(await lab.claim_one())
    assert await lab.rescue(bound=0, now=after(61)) == 1
    await story.check("rescue_jobs", home)
    await lab.enqueue(home)
    await lab.claim_one()
    arguments = {"worker": "worker-1", "running_workspaces": [], "running_ids": [], "bound": 0, "lease": LEASE}
    await lab.call("reclaim_jobs", **arguments)
    await story.check("reclaim_jobs", home)


async def run_agents(story: Story, home: Context, urls: Prepared) -> None:
    """Every way in which a run or a call of a tool comes to something that is told."""
    desk = LedgerDesk(story.lab.database, ranked(home, Role.MEMBER))
    await desk.publish(*TOOLS)
    run = await desk.hold()
    await story.check("begin_agent_run", home)
    await desk.succeed(run, (await desk.ask(run)).tool_call_id)
    await story.check("succeed_tool_call", home)
    await desk.fail(run, (await desk.ask(run)).tool_call_id)
    await story.check("fail_tool_call", home)
    await desk.cancel(run, (await desk.ask(run, execute=False)).tool_call_id)
    await story.check("cancel_tool_call", home)
    await desk.ask(run, ERASE)
    asked = await desk.ask(run, PAY)
    await story.check("request_tool_call", home)
    following = await desk.resolve(asked.tool_call_id, approve=True)
    await story.check("resolve_tool_call", home)
    assert following is not None
    taken = await desk.take(following)
    await story.check("take_agent_run", home)
    assert taken is not None
    maintenance = await asyncpg.connect(urls.maintenance_url)
    await sweep_once(maintenance, utc_now() + timedelta(seconds=61))
    await maintenance.close()
    await story.check("sweep_agent_runs", home)
    again = await desk.take(following)
    await story.check("take_agent_run", home)
    assert again is not None
    await desk.end(again)
    await story.check("end_agent_run", home)
    await Receiver(story.lab.database, desk.context).take(agent(1), chat(2))
    await story.check("take_agent_spans", home)


async def use_quotas(story: Story, home: Context) -> None:
    """Every way in which a quota is used up; each verb has one of a single unit."""
    names = ("consume", "batch", "sold", "commit", "reserve", "correct")
    plans = Plans()
    quotas = {f"by.{name}": Quota(1, "day", warn_at=()) for name in names}
    plans.add(Plan("single", (), quotas | {"agent.tokens": Quota(10, "day", warn_at=(50,))}))
    await register_plans(story.lab.database, plans)
    system, slots = ranked(home, Role.SYSTEM), "1, 'k'"
    async with story.lab.database.transaction(system) as tx:
        await tx.execute("SELECT datalane.assign_plan('single')")
    calls = {
        "consume": f"'by.consume', {slots}",
        "consume_batch": "'by.batch', '{1}', '{k}', ARRAY[app.actor_id()], '{c}'",
        "consume_sold": "'{by.sold}', '{1}', 'k'",
        "reserve_usage": "'by.reserve', 1, 'k'",
        "commit_usage": "'by.commit', 'k', 1",
        "correct_usage": "'by.correct', 1, 'k', 'why'",
        "reset_usage": "'by.correct', 'k2', 'why'",
    }
    async with story.lab.database.transaction(system) as tx:
        await tx.execute("SELECT datalane.reserve_usage('by.commit', 1, 'k')")
        await tx.execute("SELECT datalane.reserve_usage('by.reserve', 1, 'before')")
    for verb, arguments in calls.items():
        async with story.lab.database.transaction(system) as tx:
            await tx.execute(f"SELECT datalane.{verb}({arguments})")
        await story.check(verb, home)
    desk = LedgerDesk(story.lab.database, ranked(home, Role.MEMBER))
    run = await desk.hold()
    await story.check("begin_agent_run", home)
    step = [{"kind": "model", "name": "chat", "input_tokens": 6, "output_tokens": 0}]
    await desk.rows("SELECT datalane.record_agent_steps($1, $2, $3)", run.run_id, run.lease_token, step)
    await story.check("record_agent_steps", home)


async def tell_of_access(story: Story, home: Context) -> None:
    """Access that is given, ends with its period, and is given again by a signal that was held."""
    system, then = ranked(home, Role.SYSTEM), utc_now() - timedelta(days=3)
    first = {"source_system": "billing", "source_event_id": "1", "signal": "activate", "plan_id": "single"}
    given = {**first, "occurred_at": f"{then}", "ends_at": f"{then + timedelta(hours=1)}"}
    held = {**first, "source_event_id": "2", "occurred_at": f"{then + timedelta(days=2)}"}
    async with story.lab.database.transaction(system) as tx:
        await tx.execute("SELECT datalane.record_access_signals($1, now => $2)", [given, held], then)
    await story.check("record_access_signals", home)
    for verb in ("settle_demo_access", "release_access_signals"):
        async with story.lab.database.transaction(system) as tx:
            await tx.execute(f"SELECT datalane.{verb}()")
        await story.check(verb, home)


async def test_what_the_verbs_publish_themselves_matches_its_schema(lab: Lab, context: Context, urls: Prepared) -> None:
    story = Story(lab)
    await enter(story)
    await reuse_a_refresh_token(story, await live_together(story))
    await bury_jobs(story, context)
    await run_agents(story, context, urls)
    await use_quotas(story, context)
    await tell_of_access(story, context)
    assert story.told == {
        "sign_up": {"workspace.created", "membership.added"},
        "create_workspace": {"workspace.created", "membership.added"},
        "create_workspace_for": {"workspace.created", "membership.added"},
        "create_invite": {"membership.changed"},
        "accept_invite": {"membership.added"},
        "revoke_invite": {"membership.removed"},
        "change_member": {"membership.changed"},
        "remove_member": {"membership.removed"},
        "leave_workspace": {"membership.removed"},
        "transfer_ownership": {"membership.changed"},
        "enter_by_identity": {"workspace.created", "membership.added"},
        "refresh_session": {"security.anomaly"},
        **{verb: {"job.dead_lettered"} for verb in BURYING},
        **{verb: {"agent.tool.called"} for verb in ("succeed_tool_call", "fail_tool_call", "cancel_tool_call")},
        "begin_agent_run": {"agent.run.started"},
        "request_tool_call": {"agent.tool.called", "agent.run.escalated"},
        "resolve_tool_call": {"agent.run.queued"},
        "take_agent_run": {"agent.run.started"},
        "sweep_agent_runs": {"agent.run.retrying"},
        "end_agent_run": {"agent.run.completed"},
        "take_agent_spans": {"agent.run.started", "agent.run.completed"},
        **{verb: {"usage.limit_reached"} for verb in USING},
        "reset_usage": set(),  # it takes back, by way of a verb that may also add
        "record_agent_steps": {"usage.threshold_reached"},
        "record_access_signals": {"access.activated"},
        "settle_demo_access": {"access.deactivated"},
        "release_access_signals": {"access.activated"},
    }
    assert set(story.told) == await verbs_that_publish(lab.database), "exercise the verb that publishes too"


def test_a_payload_that_drifts_is_found() -> None:
    good = {"job_id": "1", "kind": "k", "reason": "r"}
    check_payload("job.dead_lettered", 1, good)
    with pytest.raises(SchemaViolation):
        check_payload("job.dead_lettered", 1, {**good, "job_id": 1})
    with pytest.raises(AssertionError, match="does not name"):
        check_payload("job.dead_lettered", 1, {**good, "worker": "w"})
