"""A lane on the test's own database with its own file store, and a worker."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from tests.conftest import a_context
from tests.integration.knowledge.gate import Gate
from tests.integration.knowledge.library import Library, library_with_children
from tests.integration.knowledge.shelf import Shelf
from tests.unit.knowledge.conftest import (
    image_only_pdf,
    make_docx,
    make_encrypted_pdf,
    make_pdf,
    replace_part,
)

from datalane.contracts.context import Role
from datalane.db.provision import Prepared
from datalane.knowledge.runtime import open_knowledge
from datalane.lane import Lane
from datalane.settings import Settings

__all__ = ["image_only_pdf", "make_docx", "make_encrypted_pdf", "make_pdf", "replace_part"]


@pytest.fixture
async def idle_library(urls: Prepared, tmp_path: Path) -> AsyncIterator[Library]:
    """No worker runs."""
    settings, lane = Settings(home=tmp_path), Lane()
    async with lane.open(settings, urls.database_url), open_knowledge(settings) as knowledge:
        knowledge.register(lane.handlers, lane.database)
        yield Library(lane, knowledge, a_context(role=Role.OWNER))


@pytest.fixture
async def library(idle_library: Library) -> AsyncIterator[Library]:
    async with idle_library.working():
        yield idle_library


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate.made(tmp_path)


@pytest.fixture
async def gated_library(urls: Prepared, tmp_path: Path) -> AsyncIterator[Library]:
    """Its extraction child stops at the gate. No worker runs."""
    setup = "tests.integration.knowledge.gated_parser:register"
    async with library_with_children(urls, tmp_path, setup) as gated:
        yield gated


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 KiB."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
async def shelf(idle_library: Library, urls: Prepared) -> AsyncIterator[Shelf]:
    connection = await asyncpg.connect(urls.maintenance_url)
    yield Shelf(idle_library, connection)
    await connection.close()
