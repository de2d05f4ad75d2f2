from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.integration.engine.lab import Lab

from datalane.db.database import Database


@pytest.fixture
async def lab(database: Database) -> AsyncIterator[Lab]:
    """The worker's verbs, with the test's event types registered."""
    async with Lab.opened(database) as opened:
        await opened.register()
        yield opened
