"""`datalane contracts`: a change of the code is seen, named with whom it breaks, versioned or answered for."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from datalane.contracts.context import Context
from datalane.contracts.registry import EVENTS, EventRegistry
from datalane.db.access import Prepared
from datalane.db.database import Database
from datalane.engine.events import publish
from datalane.engine.registration import register
from datalane.kit.ids import uuid7

Said = Any
Run = Callable[..., Said]

APP = """
from datalane import Job, Lane, Transaction

lane = Lane()
lane.event("parcel.sent", {schema}, version={version})


@lane.handlers.on_event("parcel.sent")
async def track(tx: Transaction, job: Job) -> None:
    pass
"""
SENT = {"type": "object", "properties": {"parcel": {"type": "integer"}, "note": {"type": "string"}}, "required": []}
RENUMBERED = {**SENT, "properties": {**SENT["properties"], "parcel": {"type": "string"}}}  # type: ignore[dict-item]


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Write the application's code; every command of this test imports it afresh into a registry of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    known = dict(EVENTS._types), dict(EVENTS._validators)

    def write(schema: dict[str, Any], version: int = 1) -> None:
        code = APP.format(schema=repr(schema), version=version)
        (tmp_path / "parcels.py").write_text(code + ("" if version == 1 else f"lane.event('parcel.sent', {SENT!r})\n"))

    yield write
    sys.modules.pop("parcels", None)
    EVENTS._types, EVENTS._validators = known


@pytest.fixture
def contracts(datalane: Callable[..., Said], app: Callable[..., None]) -> Run:
    """`contracts("check")` on the application as it is written now."""
    known = EventRegistry(dict(EVENTS._types), dict(EVENTS._validators))

    def run(command: str, *arguments: str) -> Said:
        sys.modules.pop("parcels", None)
        EVENTS._types, EVENTS._validators = dict(known._types), dict(known._validators)
        return datalane("contracts", command, *arguments, "--app", "parcels:lane")

    return run


@pytest.fixture
def exported(app: Callable[..., None], contracts: Run) -> Run:
    """The application's contracts lie in `contracts/`, and are checked."""
    app(SENT)
    assert contracts("export").status == 0
    assert contracts("check").status == 0
    return contracts


# Checking ---------------------------------------------------------------------------------------------------------


def test_nothing_exported_says_what_to_run(app: Callable[..., None], contracts: Run) -> None:
    app(SENT)
    said = contracts("check")
    assert said.status == 1
    assert "datalane contracts export" in said.out


def test_an_unversioned_break_is_named_with_its_field_direction_kind_and_consumers(
    exported: Run, app: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / "contracts" / "consumers.toml").write_text(
        '[[consumer]]\nname = "warehouse"\nowner = "data team"\nreads = ["event:parcel.*"]\n'
    )
    app(RENUMBERED)
    said = exported("check", "--json")
    assert said.status == 1
    (found,) = said.json["breaks"]
    assert (found["contract"], found["path"], found["direction"], found["kind"]) == (
        "event:parcel.sent.v1",
        "$.parcel",
        "event",
        "type_changed",
    )
    assert found["consumers"] == ["handler on:parcel.sent", "warehouse (data team)"]
    text = exported("check").out
    assert "BREAKS event:parcel.sent.v1 (event) $.parcel" in text
    assert "warehouse (data team)" in text


def test_a_compatible_change_that_is_not_exported_is_drift(exported: Run, app: Callable[..., None]) -> None:
    app({**SENT, "properties": {**SENT["properties"], "weight": {"type": "number"}}})  # type: ignore[dict-item]
    said = exported("check", "--json")
    assert (said.status, said.json["breaks"]) == (1, [])
    assert said.json["drift"] == ["events/parcel.sent.v1.json"]
    assert "run `datalane contracts export`" in exported("check").out
    assert exported("export").status == 0
    assert exported("check").status == 0


def test_a_break_with_a_version_of_its_own_is_fine(exported: Run, app: Callable[..., None]) -> None:
    app(RENUMBERED, version=2)
    said = exported("check", "--json")
    assert (said.status, said.json["added_versions"]) == (0, ["events/parcel.sent.v2.json"])
    assert "$.parcel type changed" in exported("diff").out


def test_a_version_that_is_gone_breaks(exported: Run, tmp_path: Path) -> None:
    (tmp_path / "parcels.py").write_text("from datalane import Lane\nlane = Lane()\n")
    said = exported("check", "--json")
    assert said.status == 1
    assert [each["kind"] for each in said.json["breaks"]] == ["version_removed"]


def test_a_route_that_accepts_less_breaks(exported: Run, tmp_path: Path) -> None:
    path = tmp_path / "contracts" / "openapi.json"
    document = orjson.loads(path.read_bytes())
    del document["components"]["schemas"]["NewAccount"]["properties"]["email"]["maxLength"]
    document["paths"]["/documents/gone"] = {"get": {"responses": {"200": {}}}}
    path.write_bytes(orjson.dumps(document))
    said = exported("check", "--json")
    assert said.status == 1
    assert [(each["contract"], each["path"], each["kind"]) for each in said.json["breaks"]] == [
        ("GET /documents/gone", "operation", "operation_removed"),
        ("dto:NewAccount", "$.email", "max_length_narrowed"),
    ]
    assert said.json["breaks"][1]["consumers"] == ["POST /auth/sign-up"]


def test_a_consumer_of_nothing_is_a_mistake(exported: Run, tmp_path: Path) -> None:
    (tmp_path / "contracts" / "consumers.toml").write_text('[[consumer]]\nname = "x"\nreads = ["event:parcell.sent"]\n')
    said = exported("check")
    assert said.status == 2
    assert "x reads event:parcell.sent, and no contract is called that" in said.err


def test_an_export_does_not_hide_a_break(exported: Run, app: Callable[..., None], tmp_path: Path) -> None:
    app(RENUMBERED)
    before = (tmp_path / "contracts" / "events" / "parcel.sent.v1.json").read_bytes()
    said = exported("export")
    assert (said.status, "BREAKS" in said.out) == (1, True)
    assert (tmp_path / "contracts" / "events" / "parcel.sent.v1.json").read_bytes() == before
    assert exported("export", "--replace").status == 0
    assert exported("check").status == 0


# Approving --------------------------------------------------------------------------------------------------------


def test_an_approved_break_passes_with_its_reason_and_the_next_one_does_not(
    exported: Run, app: Callable[..., None]
) -> None:
    app(RENUMBERED)
    fingerprint = exported("check", "--json").json["breaks"][0]["fingerprint"]
    assert exported("approve", fingerprint, "--reason", 'nobody "reads" it', "--owner", "Ada").status == 0
    said = exported("check")
    assert "approved by Ada" in said.out
    assert 'nobody "reads" it' in said.out
    assert "run `datalane contracts export`" in said.out
    app({**RENUMBERED, "properties": {"parcel": {"type": "boolean"}, "note": {"type": "string"}}})
    assert [each["kind"] for each in exported("check", "--json").json["breaks"]] == ["type_changed"]
    app(RENUMBERED)
    assert exported("export").status == 0
    assert exported("check").status == 0


@pytest.mark.parametrize("given", [["--reason", "why not"], ["--owner", "Ada"], ["--reason", "  ", "--owner", "Ada"]])
def test_an_approval_without_reason_or_owner_is_refused(
    exported: Run, app: Callable[..., None], given: list[str], tmp_path: Path
) -> None:
    app(RENUMBERED)
    fingerprint = exported("check", "--json").json["breaks"][0]["fingerprint"]
    said = exported("approve", fingerprint, *given)
    assert (said.status, "an approval needs --" in said.err) == (2, True)
    assert not (tmp_path / "contracts" / "approved.toml").exists()


def test_an_approval_that_lost_its_owner_approves_nothing(
    exported: Run, app: Callable[..., None], tmp_path: Path
) -> None:
    app(RENUMBERED)
    fingerprint = exported("check", "--json").json["breaks"][0]["fingerprint"]
    exported("approve", fingerprint, "--reason", "why not", "--owner", "Ada")
    path = tmp_path / "contracts" / "approved.toml"
    path.write_text(path.read_text().replace('owner = "Ada"', 'owner = ""'))
    said = exported("check")
    assert (said.status, "without owner approves nothing" in said.err) == (2, True)


def test_only_a_break_that_waits_can_be_approved(exported: Run) -> None:
    said = exported("approve", "0123456789abcdef", "--reason", "why not", "--owner", "Ada")
    assert (said.status, "no break that waits for approval" in said.err) == (2, True)


# Handing over -----------------------------------------------------------------------------------------------------


def test_a_handoff_lists_what_is_added_changed_deprecated_and_removed(exported: Run, app: Callable[..., None]) -> None:
    properties = {"parcel": {"type": ["integer", "null"], "deprecated": True}, "weight": {"type": "number"}}
    app({**SENT, "properties": properties})
    document = exported("diff").out
    section = document[document.index("## event:parcel.sent.v1") :]
    positions = [section.index(f"### {title}") for title in ("Added", "Changed", "Deprecated", "Removed")]
    assert positions == sorted(positions)
    assert "- `$.weight` (event): field added" in section
    assert "- `$.note` (event): field removed: optional → – — **breaking**" in section
    kinds = {(each["path"], each["kind"]) for each in exported("diff", "--json").json["differences"]}
    assert {("$.parcel", "newly_nullable"), ("$.parcel", "deprecated")} <= kinds


def test_a_handoff_goes_back_to_a_revision_or_a_folder(exported: Run, app: Callable[..., None], tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    git("add", "contracts")
    git("commit", "-qm", "first")
    app({**SENT, "properties": {**SENT["properties"], "weight": {"type": "number"}}})  # type: ignore[dict-item]
    assert exported("export").status == 0
    assert "Nothing differs" in exported("diff").out
    assert "`$.weight` (event): field added" in exported("diff", "--against", "HEAD").out
    assert exported("check", "--against", "HEAD").status == 1
    assert "Nothing differs" in exported("diff", "--against", str(tmp_path / "contracts")).out
    said = exported("diff", "--against", "no-such-branch")
    assert (said.status, "neither a folder nor a git revision" in said.err) == (2, True)


# Stored events ----------------------------------------------------------------------------------------------------


@pytest.fixture
async def stored(
    exported: Run, database: Database, urls: Prepared, home: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Awaitable[Said]]:
    """`await stored("--stored")` checks against this test's own database, beside the test's event loop."""
    await register(database, {}, [], list(EVENTS))
    monkeypatch.setenv("DATALANE_HOME", str(home))
    for name, value in urls.as_environment().items():
        monkeypatch.setenv(name, value)

    async def run(*arguments: str) -> Said:
        return await asyncio.to_thread(exported, "check", *arguments)

    return run


async def send(database: Database, context: Context, **payload: Any) -> str:
    async with database.transaction(context) as tx:
        return str((await publish(tx, "parcel.sent", payload)).event_id)


async def test_stored_events_that_the_code_would_refuse_are_named_without_their_payload(
    stored: Any, database: Database, context: Context, other_context: Context, app: Callable[..., None]
) -> None:
    await send(database, context, parcel=1)
    lettered = await send(database, other_context, parcel=2, note="sealed-word")
    said = await stored("--stored", "--json")
    assert (said.status, said.json["stored"]) == (0, {"events": 2, "workspaces": 2, "faults": []})
    app({**SENT, "properties": {"parcel": {"type": "integer"}, "note": {"type": "string", "maxLength": 5}}})
    said = await stored("--stored", "--json")
    assert said.status == 1
    (found,) = said.json["stored"]["faults"]
    assert (found["event_id"], found["workspace_id"]) == (lettered, str(other_context.workspace_id))
    assert (found["field"], found["keyword"]) == ("$.note", "maxLength")
    said = await stored("--stored")
    assert f"event {lettered} of workspace {other_context.workspace_id}: $.note (maxLength)" in said.out
    assert "sealed-word" not in said.out


async def test_only_the_last_events_of_each_type_are_looked_at(
    stored: Any, database: Database, context: Context
) -> None:
    for parcel in range(5):
        await send(database, context, parcel=parcel)
    assert (await stored("--stored", "--last", "3", "--json")).json["stored"]["events"] == 3


async def test_without_the_operator_login_a_workspace_is_named(
    stored: Any, database: Database, urls: Prepared, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    await send(database, context, parcel=1)
    monkeypatch.delenv("DATALANE_OPERATOR_URL")
    monkeypatch.delenv("DATALANE_DATABASE_URL")
    said = await stored("--database-url", urls.database_url)
    assert (said.status, "name one workspace with --workspace" in said.err) == (2, True)
    named = ["--workspace", str(context.workspace_id), "--workspace", str(uuid7())]
    said = await stored("--database-url", urls.database_url, *named, "--json")
    assert (said.status, said.json["stored"]["events"]) == (0, 1)
