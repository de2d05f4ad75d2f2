"""Agents whose contents are judged by words."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.integration.agents.desk import LedgerDesk
from tests.integration.agents.safety.moderators import Words

from datalane.agents.recorder import Agents
from datalane.agents.recorder.toolbox import Toolbox
from datalane.agents.safety.judging import Safety
from datalane.knowledge.moderation.suppressing import CitationSuppressor


@pytest.fixture
def words() -> Words:
    return Words()


@pytest.fixture
def safety(words: Words) -> Safety:
    return Safety(words, timedelta(seconds=0.2), CitationSuppressor())


@pytest.fixture
def agents(desk: LedgerDesk, safety: Safety) -> Agents:
    return Agents(desk.database.transaction, Toolbox(), safety=safety)
