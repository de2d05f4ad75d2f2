"""`datalane jobs`: an operator looks at jobs, brings stopped ones back, and is told clearly what cannot be done."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import psycopg
import pytest
from tests.acceptance.running_lane import RunningLane, environment, remove
from tests.integration.engine.lab import Lab

from datalane.cli import job_operations
from datalane.contracts.context import Context
from datalane.db.access import Prepared
from datalane.db.database import Database
from datalane.engine.jobs import enqueue, get_job
from datalane.kit.ids import SYSTEM_ACTOR, SYSTEM_WORKSPACE, uuid7

Said = Any
Jobs = Callable[..., Awaitable[Said]]


@pytest.fixture
async def lab(database: Database) -> AsyncIterator[Lab]:
    """The worker's verbs, to bring jobs into the states that operators meet."""
    async with Lab.opened(database) as opened:
        yield opened


@pytest.fixture
def jobs(urls: Prepared, home: Path, datalane: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> Jobs:
    """`await jobs("retry", …)` on this test's lane, beside the test's own event loop."""
    monkeypatch.setenv("DATALANE_HOME", str(home))
    for name, value in urls.as_environment().items():
        monkeypatch.setenv(name, value)

    async def run(*arguments: object) -> Said:
        return await asyncio.to_thread(datalane, "jobs", *map(str, arguments))

    return run


async def failed_job(lab: Lab, context: Context, kind: str = "work", error_class: str = "not_there") -> UUID:
    await lab.enqueue(context, kind=kind, now=None)
    job = await lab.claim_one(kind, now=None)
    await lab.fail(job, error_class, "it is not there", retry_after=None, now=None)
    return job.id


async def dead_job(lab: Lab, context: Context, kind: str = "work") -> UUID:
    await lab.enqueue(context, kind=kind, now=None, max_attempts=1)
    job = await lab.claim_one(kind, now=None)
    assert await lab.fail(job, now=None) == "dead_letter"
    return job.id


def fault(said: Said) -> tuple[int, str, str]:
    return said.status, said.json["error"]["code"], said.json["error"]["message"]


async def status_of(database: Database, context: Context, job_id: UUID) -> str:
    async with database.transaction(context) as tx:
        return (await get_job(tx, job_id)).status


# Looking ----------------------------------------------------------------------------------------------------------


async def test_list_shows_the_jobs_of_every_workspace_without_their_payloads(
    lab: Lab, jobs: Jobs, context: Context, other_context: Context
) -> None:
    (first,) = await lab.enqueue(context, now=None)
    (second,) = await lab.enqueue(other_context, kind="other", now=None)
    said = await jobs("list", "--json")
    assert said.status == 0
    assert [(job["id"], job["workspace_id"]) for job in said.json["jobs"]] == [
        (str(second), str(other_context.workspace_id)),
        (str(first), str(context.workspace_id)),
    ]
    assert not {"args", "last_error_message", "idempotency_key"} & set(said.json["jobs"][0])
    text = await jobs("list")
    assert str(first) in text.out
    assert str(other_context.workspace_id) in text.out


async def test_list_takes_filters(lab: Lab, jobs: Jobs, context: Context, other_context: Context) -> None:
    failed = await failed_job(lab, context)
    await lab.enqueue(context, 3, kind="later", now=None)
    await lab.enqueue(other_context, kind="later", now=None)

    async def listed(*filters: object) -> list[tuple[str, str]]:
        said = await jobs("list", "--json", *filters)
        return [(job["kind"], job["status"]) for job in said.json["jobs"]]

    home = context.workspace_id
    for where in ((), ("--workspace", home)):
        assert await listed("--status", "failed", *where) == [("work", "failed")]
        assert await listed("--status", "dead_letter", *where) == []
        assert len(await listed("--kind", "later", "--limit", 2, *where)) == 2
        assert await listed("--error-class", "not_there", *where) == [("work", "failed")]
        assert await listed("--error-class", "timeout", *where) == []
        assert len(await listed("--correlation", context.correlation_id, *where)) == 4
        assert await listed("--subject", "nothing", *where) == []
    assert len(await listed("--kind", "later")) == 4
    assert len(await listed("--kind", "later", "--workspace", home)) == 3
    assert str(failed) in (await jobs("list", "--workspace", home)).out
    assert (await jobs("list", "--kind", "none")).out == "no jobs\n"


async def test_list_shows_completed_jobs_on_request(lab: Lab, jobs: Jobs, context: Context) -> None:
    (job_id,) = await lab.enqueue(context, now=None)
    await lab.finish(await lab.claim_one(now=None), now=None)
    assert (await jobs("list", "--json")).json["jobs"] == []
    for where in ((), ("--workspace", context.workspace_id)):
        (job,) = (await jobs("list", "--status", "completed", "--json", *where)).json["jobs"]
        assert (job["id"], job["status"]) == (str(job_id), "completed")
        assert job["completed_at"] is not None


async def test_show_tells_every_change_of_status(lab: Lab, jobs: Jobs, context: Context) -> None:
    job_id = await dead_job(lab, context)
    said = await jobs("show", job_id, "--json")
    assert said.status == 0
    assert said.json["job"]["dead_letter_reason"] == "attempts_exhausted"
    assert said.json["job"]["args"] == {}
    steps = [(change["from_status"], change["to_status"]) for change in said.json["changes"]]
    assert steps == [("queued", "processing"), ("processing", "retrying"), ("retrying", "dead_letter")]
    text = (await jobs("show", job_id)).out
    assert "provider_error: no answer" in text
    assert text.count("attempts_exhausted") == 2, "as the job's reason and as the last change's"
    (fresh,) = await lab.enqueue(context, now=None)
    assert "no change of status yet" in (await jobs("show", fresh)).out


async def test_show_finds_a_completed_job(lab: Lab, jobs: Jobs, context: Context) -> None:
    (job_id,) = await lab.enqueue(context, now=None)
    await lab.finish(await lab.claim_one(now=None), now=None)
    said = await jobs("show", job_id, "--json")
    assert said.json["job"]["status"] == "completed"
    assert [change["to_status"] for change in said.json["changes"]] == ["processing", "completed"]


# Acting on ids ----------------------------------------------------------------------------------------------------


async def test_retry_puts_a_failed_job_back_in_place(
    lab: Lab, jobs: Jobs, database: Database, context: Context
) -> None:
    job_id = await failed_job(lab, context)
    said = await jobs("retry", job_id, "--json")
    assert said.status == 0
    assert said.json == {
        "verb": "retry",
        "dry_run": False,
        "jobs": 1,
        "workspaces": [{"workspace_id": str(context.workspace_id), "jobs": 1}],
        "new_ids": {},
    }
    assert (await lab.claim_one(now=None)).id == job_id
    assert fault(await jobs("retry", job_id, "--json")) == (2, "conflict", f"job {job_id} is processing, not failed")


async def test_replay_starts_a_dead_letter_anew_once(lab: Lab, jobs: Jobs, context: Context) -> None:
    job_id = await dead_job(lab, context)
    said = await jobs("replay", job_id)
    assert said.status == 0
    assert said.out.startswith("replayed 1 job in 1 workspace\n")
    child = await lab.claim_one(now=None)
    assert f"{job_id} is now {child.id}" in said.out
    assert (await lab.state(context, child.id)).parent_job_id == job_id
    status, code, message = fault(await jobs("replay", job_id, "--json"))
    assert (status, code) == (2, "conflict")
    assert f"was replayed already, as {child.id}" in message


async def test_a_verb_that_does_not_fit_names_the_one_that_does(lab: Lab, jobs: Jobs, context: Context) -> None:
    failed, dead = await failed_job(lab, context), await dead_job(lab, context)
    said = await jobs("replay", failed)
    assert said.status == 2
    assert said.err == (
        f"error: job {failed} is failed, not dead_letter; a failed job is put back with `datalane jobs retry`\n"
    )
    assert "started anew with `datalane jobs replay`" in (await jobs("retry", dead)).err
    assert "a failed job is put back" in (await jobs("replay", "--status", "failed", "--all")).err


async def test_one_job_that_does_not_fit_stops_all_before_anything_changes(
    lab: Lab, jobs: Jobs, database: Database, context: Context, other_context: Context
) -> None:
    good, bad = await failed_job(lab, context), await dead_job(lab, other_context)
    assert (await jobs("retry", good, bad)).status == 2
    assert await status_of(database, context, good) == "failed"


async def test_cancel_ends_waiting_and_running_jobs(
    lab: Lab, jobs: Jobs, database: Database, context: Context, other_context: Context
) -> None:
    (running,) = await lab.enqueue(context, now=None)
    claimed = await lab.claim_one(now=None)
    (waiting,) = await lab.enqueue(other_context, now=None)
    said = await jobs("cancel", running, waiting)
    assert said.out == "canceled 2 jobs in 2 workspaces\n"
    assert await lab.finish(claimed, now=None) == set(), "the running handler lost its lease"
    for home, job_id in ((context, running), (other_context, waiting)):
        assert (await lab.state(home, job_id)).dead_letter_reason == "canceled"
    assert "is dead_letter, not queued or processing or retrying or failed" in (await jobs("cancel", waiting)).err


async def test_unknown_and_malformed_ids_are_said(jobs: Jobs, context: Context) -> None:
    unknown = uuid7()
    for verb in ("show", "retry", "replay", "cancel", "skip"):
        for where in ((), ("--workspace", context.workspace_id)):
            assert fault(await jobs(verb, unknown, "--json", *where)) == (
                2,
                "not_found",
                f"there is no job {unknown}",
            )
    status, code, message = fault(await jobs("show", "seven", "--json"))
    assert (status, code) == (2, "invalid_input")
    assert message.startswith("'seven' is not a job id")
    assert "'here' is not a workspace id" in (await jobs("list", "--workspace", "here")).err


async def test_an_id_in_two_workspaces_is_ambiguous_until_one_is_named(
    lab: Lab, jobs: Jobs, urls: Prepared, context: Context, other_context: Context
) -> None:
    (job_id,) = await lab.enqueue(context, now=None)
    with psycopg.connect(urls.maintenance_url) as connection:
        connection.execute("SET ROLE datalane_definer")
        connection.execute(
            "INSERT INTO datalane.jobs (workspace_id, id, kind, queued_at, next_retry_at, correlation_id, actor_id) "
            "VALUES (%s, %s, 'work', now(), now(), 'twin', %s)",
            (other_context.workspace_id, job_id, other_context.actor_id),
        )
    status, code, message = fault(await jobs("cancel", job_id, "--json"))
    assert (status, code) == (2, "conflict")
    assert "is ambiguous" in message
    assert str(context.workspace_id) in message
    assert (await jobs("cancel", job_id, "--workspace", context.workspace_id)).status == 0
    assert (await lab.state(other_context, job_id)).status == "queued"


# Acting by filter -------------------------------------------------------------------------------------------------


async def test_a_dry_run_counts_and_changes_nothing(
    lab: Lab, jobs: Jobs, database: Database, context: Context, other_context: Context
) -> None:
    stopped = [(home, await failed_job(lab, home)) for home in (context, context, other_context)]
    await dead_job(lab, context)
    said = await jobs("retry", "--status", "failed", "--all", "--dry-run", "--json")
    assert said.status == 0
    assert (said.json["jobs"], said.json["dry_run"]) == (3, True)
    assert {one["workspace_id"]: one["jobs"] for one in said.json["workspaces"]} == {
        str(context.workspace_id): 2,
        str(other_context.workspace_id): 1,
    }
    text = await jobs("replay", "--workspace", context.workspace_id, "--dry-run")
    assert text.out == "would replay 1 job in 1 workspace; nothing was changed\n"
    assert (await jobs("cancel", stopped[0][1], "--dry-run")).out.startswith("would cancel 1 job in 1 workspace")
    assert [await status_of(database, home, job_id) for home, job_id in stopped] == ["failed"] * 3


async def test_a_filter_takes_what_it_matches_and_nothing_else(
    lab: Lab, jobs: Jobs, database: Database, context: Context, other_context: Context
) -> None:
    wanted = await failed_job(lab, context, "import", "timeout")
    other_class = await failed_job(lab, context, "import", "not_there")
    other_kind = await failed_job(lab, context, "export", "timeout")
    elsewhere = await failed_job(lab, other_context, "import", "timeout")
    said = await jobs(
        *("retry", "--kind", "import", "--error-class", "timeout", "--workspace", context.workspace_id, "--json")
    )
    assert said.json["jobs"] == 1
    assert await status_of(database, context, wanted) == "retrying"
    assert await status_of(database, context, other_class) == "failed"
    assert await status_of(database, context, other_kind) == "failed"
    assert await status_of(database, other_context, elsewhere) == "failed"
    assert (await jobs("retry", "--error-class", "timeout", "--json")).json["jobs"] == 2
    assert await status_of(database, other_context, elsewhere) == "retrying"


async def test_many_jobs_are_replayed_batch_after_batch(
    lab: Lab, jobs: Jobs, context: Context, other_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_operations, "BATCH", 2)
    dead = {str(await dead_job(lab, home)) for home in [context] * 5 + [other_context]}
    said = await jobs("replay", "--all", "--json")
    assert said.json["jobs"] == 6
    assert set(said.json["new_ids"]) == dead
    claimed = {str(job.id) for job in await lab.claim(now=None)}
    assert claimed == set(said.json["new_ids"].values())
    assert fault(await jobs("replay", "--all", "--json")) == (
        2,
        "not_found",
        "nothing to do: no dead_letter job matches",
    )


async def test_a_choice_that_is_missing_or_doubled_is_refused(lab: Lab, jobs: Jobs, context: Context) -> None:
    await failed_job(lab, context)
    for verb in ("retry", "replay", "cancel"):
        said = await jobs(verb)
        assert said.status == 2
        assert "--all takes every one" in said.err
    assert "give ids or a filter, not both" in (await jobs("retry", uuid7(), "--kind", "work")).err
    assert "unknown status 'late'; one of queued" in (await jobs("cancel", "--status", "late", "--all")).err
    assert "unknown status 'late'" in (await jobs("list", "--status", "late")).err
    assert "nothing to do: no failed job matches" in (await jobs("retry", "--kind", "none")).err
    assert (await jobs("retry", "--kind", "none", "--dry-run")).out.startswith("would retry 0 jobs in 0 workspaces")


# Holding back -----------------------------------------------------------------------------------------------------


async def test_a_kind_is_paused_and_resumed_in_one_workspace(
    lab: Lab, jobs: Jobs, context: Context, other_context: Context
) -> None:
    (held,) = await lab.enqueue(context, now=None)
    (free,) = await lab.enqueue(other_context, now=None)
    said = await jobs("pause", "--kind", "work", "--workspace", context.workspace_id, "--json")
    assert said.json == {"kind": "work", "workspace_id": str(context.workspace_id), "paused": True}
    assert [job.id for job in await lab.claim(now=None)] == [free]
    said = await jobs("resume", "--kind", "work", "--workspace", context.workspace_id)
    assert said.out == f"resumed work in workspace {context.workspace_id}\n"
    assert [job.id for job in await lab.claim(now=None)] == [held]


async def test_a_kind_is_paused_and_resumed_everywhere(
    lab: Lab, jobs: Jobs, context: Context, other_context: Context
) -> None:
    for home in (context, other_context):
        await lab.enqueue(home, now=None)
        await lab.enqueue(home, kind="free", now=None)
    assert (await jobs("pause", "--kind", "work")).out == "paused work everywhere\n"
    assert {job.kind for job in await lab.claim("work", "free", now=None)} == {"free"}
    assert (await jobs("resume", "--kind", "work", "--json")).json["workspace_id"] is None
    assert len(await lab.claim("work", "free", now=None)) == 2
    records = await lab.rows(
        Context.system(SYSTEM_WORKSPACE),
        "SELECT action, resource_id, actor_id, correlation_id FROM datalane.audit_log ORDER BY audit_id",
    )
    assert [tuple(row)[:3] for row in records] == [
        ("jobs.paused", "work", SYSTEM_ACTOR),
        ("jobs.resumed", "work", SYSTEM_ACTOR),
    ]
    assert all(row["correlation_id"] for row in records)


async def test_skip_lets_the_next_of_an_ordering_key_go_on(lab: Lab, jobs: Jobs, context: Context) -> None:
    head, following = await lab.enqueue(context, 2, order_key="invoice-7", now=None)
    assert "only a failed or dead job" in (await jobs("skip", following)).err
    await lab.fail(await lab.claim_one(now=None), retry_after=None, now=None)
    assert await lab.claim(now=None) == []
    assert (await jobs("skip", head)).out == f"skipped {head}\n"
    assert (await lab.claim_one(now=None)).id == following
    assert (await lab.state(context, head)).dead_letter_reason == "skipped"
    loose = await failed_job(lab, context, "loose")
    assert "is failed and has no ordering key" in (await jobs("skip", loose)).err


# Where the database is --------------------------------------------------------------------------------------------


async def test_one_workspace_needs_no_operator_login(
    lab: Lab, jobs: Jobs, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await failed_job(lab, context)
    monkeypatch.delenv("DATALANE_OPERATOR_URL")
    status, code, message = fault(await jobs("list", "--json"))
    assert (status, code) == (2, "configuration_error")
    assert "set DATALANE_OPERATOR_URL" in message
    assert "--workspace" in message
    assert (await jobs("retry", job_id, "--workspace", context.workspace_id)).status == 0


async def test_a_wrong_password_names_its_setting(
    jobs: Jobs, urls: Prepared, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATALANE_OPERATOR_URL", spoiled(urls.operator_url))
    assert "the password in DATALANE_OPERATOR_URL" in (await jobs("list")).err
    monkeypatch.setenv("DATALANE_DATABASE_URL", spoiled(urls.database_url))
    said = await jobs("list", "--workspace", context.workspace_id)
    assert said.status == 2
    assert "the password in DATALANE_DATABASE_URL" in said.err


def spoiled(url: str) -> str:
    """`url` with another password."""
    head, at, tail = url.partition("@")
    return f"{head}x{at}{tail}"


def test_a_running_lane_is_found_by_its_home_from_another_process(home: Path) -> None:
    lane = RunningLane(home)
    try:
        lane.event("ready")
        prepared = orjson.loads((home / "running.json").read_bytes())["prepared"]
        workspace = uuid7()
        job_id = asyncio.run(enqueue_unhandled(prepared["database_url"], workspace))
        listed = process(home, "list", "--kind", "nobody.handles.this", "--json")
        assert [(job["id"], job["status"]) for job in listed["jobs"]] == [(str(job_id), "queued")]
        assert process(home, "cancel", str(job_id), "--json")["jobs"] == 1
        shown = process(home, "show", str(job_id), "--json")
        assert shown["job"]["dead_letter_reason"] == "canceled"
    finally:
        lane.close()
        remove(home)


async def enqueue_unhandled(url: str, workspace_id: UUID) -> UUID:
    database = await Database.connect(url)
    try:
        async with database.transaction(Context.system(workspace_id)) as tx:
            return (await enqueue(tx, "nobody.handles.this")).job_id
    finally:
        await database.close()


def process(home: Path, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "datalane.cli.main", "jobs", *arguments]
    done = subprocess.run(command, env=environment(home), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = orjson.loads(done.stdout)
    return said
