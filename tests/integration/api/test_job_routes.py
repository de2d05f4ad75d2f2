"""Jobs over HTTP: an admin finds those that stopped, and brings them back or ends them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from tests.integration.api.conftest import Join, Person, SignUp
from tests.integration.engine.lab import Lab

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.engine.jobs import enqueue
from datalane.kit.ids import uuid7


async def post(client: httpx.AsyncClient, who: Person, verb: str, **body: Any) -> httpx.Response:
    return await client.post(f"/jobs/{verb}", json=body, headers=who.headers)


async def shown(client: httpx.AsyncClient, who: Person, job_id: str) -> dict[str, Any]:
    answer = await client.get(f"/jobs/{job_id}", headers=who.headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def left(database: Database, who: Person, kind: str = "send", **options: Any) -> str:
    async with database.transaction(Context(who.workspace_id, who.user_id, Role.OWNER)) as tx:
        return str((await enqueue(tx, kind, {"to": "somebody"}, **options)).job_id)


async def stopped(database: Database, who: Person, retryable: bool, **options: Any) -> str:
    """A job that failed for good, or a dead letter."""
    job_id = await left(database, who, max_attempts=1, **options)
    async with Lab.opened(database) as lab:
        claimed = await lab.claim_one("send", now=None)
        assert str(claimed.id) == job_id
        again = timedelta(seconds=5) if retryable else None
        await lab.fail(claimed, "timeout" if retryable else "gone", retry_after=again, now=None)
    return job_id


async def test_jobs_are_listed_in_pages_and_one_is_shown_with_its_history(
    client: httpx.AsyncClient, ada: Person, database: Database
) -> None:
    ids = [await left(database, ada) for _ in range(3)]
    asked: dict[str, Any] = {"kind": "send", "page_size": 2}
    first = (await client.get("/jobs/list", params=asked, headers=ada.headers)).json()
    asked["cursor"] = first["next_cursor"]
    rest = (await client.get("/jobs/list", params=asked, headers=ada.headers)).json()
    assert [job["id"] for job in (*first["data"], *rest["data"])] == ids[::-1]
    assert rest["next_cursor"] is None
    dead = ids[0]
    assert (await post(client, ada, "cancel", ids=[dead])).json()["jobs"] == 1
    job = await shown(client, ada, dead)
    assert (job["status"], job["replayable"], job["args"]) == ("dead_letter", True, {"to": "somebody"})
    assert [step["to_status"] for step in job["changes"]][-1] == "dead_letter"
    assert [one["id"] for one in (await listed(client, ada, "dead_letter"))] == [dead]


async def test_jobs_are_looked_for_by_what_they_are_about_their_correlation_and_their_last_error(
    client: httpx.AsyncClient, ada: Person, database: Database
) -> None:
    failed = await stopped(database, ada, retryable=False)
    context = Context(ada.workspace_id, ada.user_id, Role.OWNER, "of-this-request")
    async with database.transaction(context) as tx:
        about = (await enqueue(tx, "send", subject_id="order 7")).job_id
    detail = await shown(client, ada, failed)
    for asked, found in (
        ({"error_class": detail["last_error_class"]}, [failed]),
        ({"error_class": "none"}, []),
        ({"subject_id": "order 7"}, [str(about)]),
        ({"correlation_id": "of-this-request"}, [str(about)]),
        ({"correlation_id": "of-this-request", "subject_id": "order 8"}, []),
    ):
        answer = (await client.get("/jobs/list", params=asked, headers=ada.headers)).json()
        assert [job["id"] for job in answer["data"]] == found, asked
    refused = await client.get("/jobs/list", params={"subject_id": "x" * 201}, headers=ada.headers)
    assert refused.status_code == 422


async def listed(client: httpx.AsyncClient, who: Person, status: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (
        await client.get("/jobs/list", params={"status": status}, headers=who.headers)
    ).json()["data"]
    return found


async def test_a_failed_job_is_retried_in_place_and_a_dead_letter_replayed_once(
    client: httpx.AsyncClient, ada: Person, database: Database
) -> None:
    failed, dead = await stopped(database, ada, retryable=False), await stopped(database, ada, retryable=True)
    again = await post(client, ada, "retry", ids=[failed])
    assert again.json() == {"jobs": 1, "remaining": 0, "dry_run": False}
    assert (await shown(client, ada, failed))["status"] == "retrying"
    replayed = (await post(client, ada, "replay", ids=[dead])).json()
    assert (replayed["matched"], replayed["replayed"], replayed["skipped"]) == (1, 1, 0)
    child = await shown(client, ada, replayed["ids"][0])
    assert (child["parent_job_id"], child["status"]) == (dead, "queued")
    twice = await post(client, ada, "replay", ids=[dead])
    assert (twice.status_code, twice.json()["code"]) == (409, "conflict")
    assert "replayed already" in twice.json()["detail"]


async def test_of_ids_every_one_fits_or_nothing_is_changed(
    client: httpx.AsyncClient, ada: Person, database: Database
) -> None:
    dead, waiting = await stopped(database, ada, retryable=True), await left(database, ada)
    for other, status, says in ((waiting, 409, f"not {waiting} (queued)"), (str(uuid7()), 404, "no such job")):
        answer = await post(client, ada, "replay", ids=[dead, other])
        assert (answer.status_code, says in answer.json()["detail"]) == (status, True)
        assert (await shown(client, ada, dead))["replayable"] is True


async def test_a_filter_is_counted_first_and_takes_what_matches(
    client: httpx.AsyncClient, ada: Person, database: Database
) -> None:
    dead = [await stopped(database, ada, retryable=True) for _ in range(3)]
    where = {"kind": "send", "error_class": "timeout"}
    counted = await post(client, ada, "replay", where=where, dry_run=True)
    assert counted.json() == {"matched": 3, "replayed": 0, "skipped": 0, "ids": [], "dry_run": True}
    assert [job["id"] for job in await listed(client, ada, "dead_letter")] == dead[::-1]
    done = (await post(client, ada, "replay", where=where)).json()
    assert (done["matched"], done["replayed"], done["skipped"]) == (3, 3, 0)
    assert [(await shown(client, ada, new))["parent_job_id"] for new in done["ids"]] == dead, "in their order"
    for nothing in (where, {"kind": "other"}, {"queued_before": "2020-01-01T00:00:00Z"}):
        assert (await post(client, ada, "replay", where=nothing)).json()["matched"] == 0


async def test_a_kind_is_paused_and_resumed(client: httpx.AsyncClient, ada: Person, database: Database) -> None:
    await left(database, ada)
    assert (await post(client, ada, "pause", kind="send")).json() == {"kind": "send", "paused": True}
    async with Lab.opened(database) as lab:
        assert await lab.claim("send", now=None) == []
        assert (await post(client, ada, "resume", kind="send")).json() == {"kind": "send", "paused": False}
        assert len(await lab.claim("send", now=None)) == 1


async def test_a_workspace_is_paused_with_all_its_kinds_and_no_other_is(
    client: httpx.AsyncClient, ada: Person, bob: Person, database: Database
) -> None:
    async with Lab.opened(database) as lab:
        for person in (ada, bob):
            for kind in ("send", "work"):
                await lab.enqueue(Context(person.workspace_id, person.user_id, Role.OWNER), kind=kind, now=None)
        assert (await post(client, ada, "pause", kind="*")).json() == {"kind": "*", "paused": True}
        claimed = await lab.claim("send", "work", now=None)
        assert sorted((job.workspace_id, job.kind) for job in claimed) == [
            *((bob.workspace_id, kind) for kind in ("send", "work"))
        ]
        assert (await post(client, ada, "resume", kind="*")).status_code == 200
        assert sorted(job.kind for job in await lab.claim("send", "work", now=None)) == ["send", "work"]


async def test_a_line_goes_on_without_its_stopped_head_and_no_other_job_is_skipped(
    client: httpx.AsyncClient, ada: Person, database: Database
) -> None:
    head = await stopped(database, ada, retryable=True, order_key="line")
    behind = await left(database, ada, order_key="line")
    alone = await left(database, ada)
    refused = await post(client, ada, "skip", job_id=alone)
    assert (refused.status_code, "no ordering key" in refused.json()["detail"]) == (409, True)
    assert (await post(client, ada, "skip", job_id=head)).json() == {"job_id": head}
    async with Lab.opened(database) as lab:
        claimed = {str(one.id) for one in await lab.claim("send", now=None)}
    assert claimed == {behind, alone}


async def test_a_member_reads_and_operates_nothing_and_a_stranger_finds_no_job(
    client: httpx.AsyncClient, ada: Person, sign_up: SignUp, join: Join, database: Database
) -> None:
    job_id = await left(database, ada)
    bob = await sign_up("bob")
    there = await join(ada, bob, "member")
    assert (await client.get(f"/jobs/{job_id}", headers=there)).status_code == 200
    for verb, body in (("cancel", {"ids": [job_id]}), ("pause", {"kind": "*"}), ("skip", {"job_id": job_id})):
        assert (await client.post(f"/jobs/{verb}", json=body, headers=there)).status_code == 403
    assert (await client.get(f"/jobs/{job_id}", headers=bob.headers)).status_code == 404
    assert (await post(client, bob, "cancel", ids=[job_id])).status_code == 404
    assert (await shown(client, ada, job_id))["status"] == "queued"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"ids": [], "dry_run": True},
        {"ids": [str(UUID(int=7))], "where": {}},
        {"where": {"colour": "red"}},
        {"where": {"kind": ""}},
        {"where": {"queued_before": "yesterday"}},
        {"ids": ["seven"]},
        {"ids": [str(UUID(int=number)) for number in range(1_001)]},
    ],
)
async def test_a_choice_that_is_none_is_refused(client: httpx.AsyncClient, ada: Person, body: dict[str, Any]) -> None:
    answer = await post(client, ada, "replay", **body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
