"""One seeded database on a server of its own, kept in a folder when one is named."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg

from bench.server import SETTINGS
from datalane.db.access import Prepared
from datalane.db.database import Database
from datalane.db.embedded import EmbeddedPostgres
from datalane.db.home import Home
from datalane.db.provision import prepare
from datalane.db.roles import Roles
from datalane.db.vacuum import vacuum_tables
from datalane.errors import Conflict
from datalane.settings import SessionSettings
from datalane.work.seeding.fill import CONNECTIONS, TABLES, seed_work
from datalane.work.seeding.ground import find_owner
from datalane.work.seeding.plan import Plan

PLAIN = "bench_plain"
"""A login that reads as somebody without row-level security would: it bypasses the policies and owns nothing."""


@dataclass(frozen=True)
class Ground:
    """Where the database is: as the lane's logins, and as the plain one. `seed_seconds` is None when it was there."""

    prepared: Prepared
    plain_url: str
    workspace_id: UUID
    owner_id: UUID
    plan: Plan
    seed_seconds: float | None
    vacuum_seconds: float | None


@contextmanager
def run_server(folder: Path | None) -> Iterator[tuple[EmbeddedPostgres, Prepared, str]]:
    """The server, the lane's addresses on it, and the plain login's. Without `folder` the data does not outlive it."""
    home = folder or Path(tempfile.mkdtemp(prefix="dlb", dir="/tmp"))
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o755)
    server = EmbeddedPostgres(home, options=SETTINGS)
    try:
        server.start()
        access = Home(home).credentials()
        yield server, prepare(server.url(), "datalane", access), server.url("datalane", PLAIN, access.login)
    finally:
        server.stop()
        if folder is None:
            for each in (server.root, home):
                shutil.rmtree(each, ignore_errors=True)


async def lay_ground(server: EmbeddedPostgres, prepared: Prepared, plain_url: str, plan: Plan) -> Ground:
    """Seed what is not there yet, vacuum, and make the plain login."""
    seconds = vacuumed = None
    async with opened(prepared) as database:
        try:
            seconds = (await seed_work(database, plan, SessionSettings(), _say_progress)).seconds
        except Conflict as error:
            print(f"kept: {error}", file=sys.stderr, flush=True)
        owner = await find_owner(database, plan, SessionSettings())
    if seconds is not None:
        began = time.perf_counter()
        await vacuum_tables(prepared.maintenance_url, Roles(), TABLES)
        vacuumed = time.perf_counter() - began
    await _make_plain_login(server, Home(server.home).credentials().login)
    return Ground(prepared, plain_url, owner.workspace_id, owner.user_id, plan, seconds, vacuumed)


@asynccontextmanager
async def opened(prepared: Prepared, size: int = CONNECTIONS) -> AsyncIterator[Database]:
    database = await Database.connect(prepared.database_url, size=size)
    try:
        yield database
    finally:
        await database.close()


async def _make_plain_login(server: EmbeddedPostgres, password: str) -> None:
    admin = await asyncpg.connect(server.url("datalane"))
    try:
        if not await admin.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", PLAIN):
            await admin.execute(f"CREATE ROLE {PLAIN} LOGIN BYPASSRLS PASSWORD '{password}'")
        await admin.execute(f"GRANT CONNECT ON DATABASE datalane TO {PLAIN}")
        await admin.execute(f"GRANT USAGE ON SCHEMA datalane TO {PLAIN}")
        await admin.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA datalane TO {PLAIN}")
        await admin.execute("CHECKPOINT")
    finally:
        await admin.close()


_told = 0


def _say_progress(done: int, total: int) -> None:
    global _told
    if done * 10 // total > _told:
        _told = done * 10 // total
        print(f"seeded {done:,} of {total:,}", file=sys.stderr, flush=True)
