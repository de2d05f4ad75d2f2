"""One embedded cluster per test process, one migrated template, one clone per test. Tests connect as the real roles."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import asyncpg
import psycopg
import pytest
from psycopg import sql

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.db.embedded import EmbeddedPostgres
from datalane.db.provision import Access, Prepared, prepare
from datalane.identity.passwords import at_least_cost
from datalane.kit.envelope import MasterKeys
from datalane.kit.ids import uuid7

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # What a shell starts in the background is deaf to Ctrl-C, and so is all that it starts: tests send it to those.
    signal.signal(signal.SIGINT, signal.default_int_handler)

MASTER_KEYS = MasterKeys("the key that wraps the data keys of tests")

FAST_AND_FORGETFUL = {
    "fsync": "off",
    "shared_buffers": "128MB",
    "max_connections": "200",
    "max_locks_per_transaction": "256",
    "log_min_messages": "fatal",
    "max_notify_queue_pages": "64",  # so that a test can fill it
    "scram_iterations": "1",  # most of the time that a connection takes; what is done is the same
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("begins") is None)


def roomy_memory() -> str | None:
    """A folder in memory when there is one with room: a clone has some 400 files, which a disk takes ten times as long
    to make."""
    memory = Path("/dev/shm")
    usable = memory.is_dir() and os.access(memory, os.W_OK | os.X_OK)
    return str(memory) if usable and shutil.disk_usage(memory).free > 2 * 1024**3 else None


@pytest.fixture(scope="session")
def cluster() -> Iterator[EmbeddedPostgres]:
    """A real server for this test process. Its superuser clones databases and does nothing else."""
    home = Path(tempfile.mkdtemp(prefix="dl", dir=roomy_memory()))
    home.chmod(0o755)
    server = EmbeddedPostgres(home, options=FAST_AND_FORGETFUL)
    server.start()
    with psycopg.connect(server.url(), autocommit=True) as admin:  # initdb has hashed it with many
        admin.execute(sql.SQL("ALTER ROLE CURRENT_USER PASSWORD {}").format(sql.Literal(server.password)))
    yield server
    server.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def template(cluster: EmbeddedPostgres) -> Prepared:
    """The migrated database that every test's own database is a clone of."""
    return prepare(cluster.url(), "template_lane", Access.generate())


@contextmanager
def clone(cluster: EmbeddedPostgres, template: Prepared) -> Iterator[Prepared]:
    """A fresh database for the time of the block, as the settings a user would have."""
    name = f"t{uuid7().hex}"
    with psycopg.connect(cluster.url(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template_lane OWNER datalane_owner STRATEGY file_copy".encode())
    yield Prepared(
        *(
            url.replace("/template_lane", f"/{name}")
            for url in (template.database_url, template.maintenance_url, template.operator_url)
        )
    )
    with psycopg.connect(cluster.url(), autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(scope="module")
def urls_of_file(cluster: EmbeddedPostgres, template: Prepared) -> Iterator[Prepared]:
    """One database for the tests of a file."""
    with clone(cluster, template) as prepared:
        yield prepared


def shares_its_database(request: pytest.FixtureRequest) -> bool:
    return request.node.get_closest_marker("one_database") is not None


@pytest.fixture
def urls(request: pytest.FixtureRequest, cluster: EmbeddedPostgres, template: Prepared) -> Iterator[Prepared]:
    """This test's own database. A file marked `one_database` has one for all of its tests, which takes less time:
    each has a workspace of its own there, so that the tests of others stand behind the wall."""
    if shares_its_database(request):
        yield request.getfixturevalue("urls_of_file")
        return
    with clone(cluster, template) as prepared:
        yield prepared


@pytest.fixture
async def database(urls: Prepared) -> AsyncIterator[Database]:
    """The lane's own connection pool, as the login role."""
    connected = await Database.connect(urls.database_url, master_keys=lambda: MASTER_KEYS)
    yield connected
    await connected.close()


@pytest.fixture
async def login(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """The login itself, outside the door."""
    connection = await database.direct_connection()
    yield connection
    await connection.close()


def a_context(workspace_id: UUID | None = None, role: Role = Role.MEMBER) -> Context:
    return Context(workspace_id or uuid7(), uuid7(), role)


@pytest.fixture
def context() -> Context:
    """A member of some workspace."""
    return a_context()


@pytest.fixture
def other_context() -> Context:
    """A member of another workspace."""
    return a_context()


@pytest.fixture(autouse=True)
def quick_passwords() -> Iterator[None]:
    """Hashing is as cheap as it may be in the tests' own process. A test about its cost has a fixture of this name."""
    with at_least_cost():
        yield
