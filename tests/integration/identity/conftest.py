"""An issuer that runs while a module's tests do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.integration.identity.issuer import LocalIssuer


@pytest.fixture(scope="package")
def issuer() -> Iterator[LocalIssuer]:
    running = LocalIssuer()
    yield running
    running.stop()
