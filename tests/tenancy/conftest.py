"""Fixtures for tests of the wall."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from tests.tenancy.catalog import two_workspaces

from datalane.contracts.context import Context
from datalane.db.embedded import EmbeddedPostgres
from datalane.db.provision import Prepared


@pytest.fixture
def superuser_url(cluster: EmbeddedPostgres, urls: Prepared) -> str:
    """The superuser in this test's own database."""
    return cluster.url(urlsplit(urls.database_url).path.lstrip("/"))


@pytest.fixture
def both(superuser_url: str) -> tuple[Context, Context]:
    """Two workspaces with rows in every table."""
    return two_workspaces(superuser_url)
