"""A member who sends spans."""

from __future__ import annotations

import pytest
from tests.integration.agents.desk import LedgerDesk
from tests.integration.agents.spans.telling import Receiver


@pytest.fixture
def receiver(desk: LedgerDesk) -> Receiver:
    return Receiver(desk.database, desk.context)
