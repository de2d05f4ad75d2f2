"""`datalane audit`: an operator reads the log, keeps its heads elsewhere, and learns when it was tampered with."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.acceptance.running_lane import environment
from tests.integration.engine.lab import ranked
from tests.integration.engine.sealing import SealBench

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.db.embedded import EmbeddedPostgres
from datalane.db.provision import Prepared
from datalane.engine.audit import erase_details
from datalane.kit.ids import uuid7

Said = Any
Audit = Callable[..., Awaitable[Said]]


@pytest.fixture
async def bench(database: Database, urls: Prepared, cluster: EmbeddedPostgres) -> AsyncIterator[SealBench]:
    async with SealBench.opened(database, urls, cluster) as opened:
        yield opened


@pytest.fixture
def audit(urls: Prepared, home: Path, datalane: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> Audit:
    """`await audit("verify", …)` on this test's lane, beside the test's own event loop."""
    monkeypatch.setenv("DATALANE_HOME", str(home))
    for name, value in urls.as_environment().items():
        monkeypatch.setenv(name, value)

    async def run(*arguments: object) -> Said:
        return await asyncio.to_thread(datalane, "audit", *map(str, arguments))

    return run


async def test_a_clean_log_is_whole_and_a_tampered_one_is_not(
    bench: SealBench, audit: Audit, context: Context, other_context: Context, home: Path
) -> None:
    rows = await bench.record(context, 12)
    await bench.record(other_context, 3)
    await bench.seal_all(context, rows_a_seal=5)
    await bench.seal_all(other_context)
    async with bench.database.transaction(ranked(context, Role.OWNER)) as tx:
        await erase_details(tx, rows[:2], "asked for it")
    clean = await audit("verify", "--json")
    assert (clean.status, clean.json["ok"], clean.json["faults"]) == (0, True, [])
    assert [clean.json[name] for name in ("workspaces", "seals", "rows", "waiting", "details_erased")] == [
        2,
        4,
        15,
        1,
        2,
    ]
    assert "the audit log is whole: 2 workspaces, 4 seals, 15 rows sealed" in (await audit("verify")).out
    kept = home / "heads.json"
    kept.write_text((await audit("head", "--json")).out)
    await bench.tamper("UPDATE datalane.audit_log SET actor_id = app.uuid7() WHERE audit_id = $1", rows[6])
    for heads in ((), ("--heads", kept)):
        tampered = await audit("verify", "--json", *heads)
        (fault,) = tampered.json["faults"]
        assert (tampered.status, tampered.json["ok"]) == (1, False)
        assert (fault["workspace_id"], fault["seal_no"], fault["position"]) == (str(context.workspace_id), 2, 7)
        assert (fault["kind"], fault["audit_id"]) == ("row_changed", str(rows[6]))
    text = await audit("verify")
    assert (
        text.status,
        f"workspace {context.workspace_id}\n  row 7 ({rows[6]}) of seal 2 was changed" in text.out,
    ) == (1, True)
    assert (await audit("verify", "--workspace", context.workspace_id)).status == 1
    assert (await audit("verify", "--workspace", other_context.workspace_id)).status == 0


async def test_heads_that_were_kept_tell_that_a_chain_was_cut_even_all_of_it(
    bench: SealBench, audit: Audit, context: Context, home: Path
) -> None:
    await bench.record(context, 10)
    await bench.seal_all(context, rows_a_seal=5)
    kept = home / "heads.json"
    kept.write_text((await audit("head", "--json", "--workspace", context.workspace_id)).out)
    (head,) = orjson.loads(kept.read_bytes())["heads"]
    assert (head["workspace_id"], head["seal_no"], head["rows"]) == (str(context.workspace_id), 2, 10)
    assert head["seal_hash"] in (await audit("head")).out
    await bench.tamper("DELETE FROM datalane.audit_seals WHERE seal_no = 2")
    assert (await audit("verify")).status == 0
    cut = await audit("verify", "--heads", kept)
    assert (cut.status, "the chain ends at seal 1 with 5 rows; the kept head is seal 2" in cut.out) == (1, True)
    await bench.superuser.execute("TRUNCATE datalane.audit_log, datalane.audit_details, datalane.audit_seals")
    gone = await audit("verify", "--heads", kept, "--json")
    assert (gone.status, [fault["kind"] for fault in gone.json["faults"]]) == (1, ["seals_cut_off"])


async def test_list_shows_what_was_done_newest_first(bench: SealBench, audit: Audit, context: Context) -> None:
    rows = await bench.record(context, 3)
    home = ("--workspace", context.workspace_id)
    async with bench.database.transaction(ranked(context, Role.OWNER)) as tx:
        await erase_details(tx, [rows[0]], "asked for it")
    said = await audit("list", *home, "--json")
    assert [one["action"] for one in said.json["records"]] == ["audit.details_erased", *["thing.done"] * 3]
    assert [one["after"] for one in said.json["records"]][1:] == [{"number": 2}, {"number": 1}, None]
    by_filter = {
        ("--action", "audit.details_erased"): 1,
        ("--actor", context.actor_id): 3,
        ("--resource-type", "thing", "--resource-id", "1"): 1,
        ("--limit", "2"): 2,
    }
    for wanted, count in by_filter.items():
        assert len((await audit("list", *home, *wanted, "--json")).json["records"]) == count, wanted
    text = (await audit("list", *home)).out
    assert "erased" in text
    assert "thing:1" in text
    assert (await audit("list", "--workspace", uuid7())).out == "no records\n"


async def test_what_cannot_be_done_is_said(audit: Audit, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await audit("head")).out == "no seals yet\n"
    (home / "heads.json").write_text('{"heads": [{}]}')
    refused = {
        ("verify", "--heads", home / "none.json"): "cannot read",
        ("verify", "--heads", home / "heads.json"): "does not hold what `datalane audit head --json` prints",
        ("verify", "--workspace", "nowhere"): "is not a workspace id",
        ("list", "--workspace", uuid7(), "--actor", "ada"): "is not a user id",
    }
    for arguments, words in refused.items():
        said = await audit(*arguments, "--json")
        assert (said.status, words in said.json["error"]["message"]) == (2, True), said.out
    monkeypatch.delenv("DATALANE_OPERATOR_URL")
    said = await audit("verify", "--json")
    assert (said.status, "DATALANE_OPERATOR_URL" in said.json["error"]["message"]) == (2, True)


async def test_the_command_itself_ends_with_one_when_the_log_was_tampered_with(
    bench: SealBench, context: Context, urls: Prepared, home: Path
) -> None:
    rows = await bench.record(context, 2)
    await bench.seal_all(context)

    def verify() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "datalane.cli.main", "audit", "verify"],
            env=environment(home, **urls.as_environment()),
            capture_output=True,
            text=True,
            check=False,
        )

    assert (await asyncio.to_thread(verify)).returncode == 0
    await bench.tamper("DELETE FROM datalane.audit_log WHERE audit_id = $1", rows[0])
    tampered = await asyncio.to_thread(verify)
    assert (tampered.returncode, "was removed" in tampered.stdout) == (1, True)
