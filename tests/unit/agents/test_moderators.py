"""Who judges agents: what a moderator must be, and how the settings name one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest
from pydantic import ValidationError

from datalane.agents.runtime import make_agents
from datalane.agents.safety.judging import Safety
from datalane.agents.safety.loading import follow_settings, load_moderator
from datalane.agents.safety.moderator import About, Subject, Verdict
from datalane.engine.meters import Meters
from datalane.engine.tools import Tools
from datalane.errors import ConfigurationError
from datalane.kit.ids import uuid7
from datalane.knowledge.moderation.suppressing import CitationSuppressor
from datalane.lane import Lane
from datalane.settings import AgentSettings, Settings

ABOUT = About(uuid7(), uuid7(), "c-1")


class Fair:
    name = "fair"
    version = "1"

    async def judge(self, subject: Subject, content: Any, about: About) -> Verdict:
        return Verdict(outcome="allowed")


class Waits:
    def __init__(self, patience: int) -> None:
        self.patience = patience


class Strange(Fair):
    subjects = ("input", "thoughts")


class Nameless(Fair):
    version = ""


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    made = ModuleType("moderators_of_a_test")
    vars(made).update(Fair=Fair, fair=Fair(), Waits=Waits, Strange=Strange, Nameless=Nameless, number=7)
    monkeypatch.setitem(sys.modules, made.__name__, made)
    load_moderator.cache_clear()
    yield made.__name__
    load_moderator.cache_clear()


def test_settings_name_a_moderator_or_the_class_of_one(module: str) -> None:
    assert load_moderator(f"{module}:fair").name == load_moderator(f"{module}:Fair").name == "fair"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nowhere_at_all:fair", "cannot be loaded: ModuleNotFoundError"),
        ("{module}:missing", "cannot be loaded: AttributeError"),
        ("{module}:Waits", "cannot be loaded: TypeError"),
        ("{module}:number", "a moderator has a name and a version"),
        ("{module}:Nameless", "a moderator has a name and a version"),
        ("{module}:Strange", "wants to judge thoughts, which is no subject"),
    ],
)
def test_one_that_cannot_judge_stops_the_program_with_the_name_of_the_setting(module: str, name: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"DATALANE_AGENTS__MODERATOR=.*{why}"):
        load_moderator(name.format(module=module))


@pytest.mark.parametrize("name", ["fair", "fair:", ":fair", "a b:c", "a:b.c", "a;b:c"])
def test_a_setting_that_names_no_attribute_of_a_module_is_wrong(name: str) -> None:
    with pytest.raises(ValidationError):
        AgentSettings(moderator=name)


def test_a_lane_has_one_moderator(module: str) -> None:
    lane, own = Lane(), Fair()
    lane.agents.moderate_with(own)
    lane.agents.moderate_with(own)
    with pytest.raises(ConfigurationError, match="in the application or in DATALANE_AGENTS__MODERATOR, not in both"):
        lane.agents.moderate_with(Fair())
    settings = Settings(agents=AgentSettings(moderator=f"{module}:fair"))
    with pytest.raises(ConfigurationError, match="not in both"):
        make_agents(settings, Tools(), Meters(), CitationSuppressor(), own)
    made = make_agents(Settings(), Tools(), Meters(), CitationSuppressor(), own)
    lane.agents.equip(Tools(), Meters(), made.safety)
    assert lane.agents.safety is made.safety is made.assistant.safety


def test_a_lane_that_is_opened_again_asks_the_moderator_of_its_settings_still(module: str) -> None:
    lane = Lane()
    settings = Settings(agents=AgentSettings(moderator=f"{module}:Fair", moderation_timeout=timedelta(seconds=2)))
    for _ in range(2):
        made = make_agents(settings, Tools(), Meters(), CitationSuppressor(), lane.agents.safety.moderator)
        follow_settings(lane.agents.safety, settings.agents)
        lane.agents.equip(Tools(), Meters(), made.safety)
    assert isinstance(lane.agents.safety.moderator, Fair)
    assert lane.agents.safety.timeout == timedelta(seconds=2)


@pytest.mark.parametrize(
    "said",
    [
        {"outcome": "perhaps"},
        {"outcome": "refused"},
        {"outcome": "flagged", "category": ""},
        {"outcome": "refused", "category": "x", "reason": "y" * 501},
        {"outcome": "refused", "category": "a\0b"},
        {"outcome": "allowed", "citation_ids": (uuid7(),)},
        {"outcome": "allowed", "score": 0.5},
    ],
)
def test_a_verdict_that_cannot_be_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Verdict(**said)


async def test_inputs_and_outputs_are_judged_unless_the_moderator_says_otherwise() -> None:
    safety = Safety(Fair())
    wanted = [subject for subject in ("input", "output", "arguments", "result") if safety.wants(subject)]
    assert wanted == ["input", "output"]
    assert await safety.judge("arguments", {"a": 1}, ABOUT) is None
    assert await safety.judge("input", None, ABOUT) is None
    judged = await safety.judge("input", "x", ABOUT)
    assert judged is not None
    assert (judged.outcome, judged.judged_by, judged.passes) == ("allowed", "fair 1", True)
    assert not Safety().wants("input")


async def test_citations_are_named_of_an_output_where_they_can_be_suppressed() -> None:
    class Citing(Fair):
        async def judge(self, subject: Subject, content: Any, about: About) -> Verdict:
            return Verdict(outcome="flagged", category="x", citation_ids=(uuid7(),))

    whole, bare = Safety(Citing(), citations=CitationSuppressor()), Safety(Citing())
    judged = [await whole.judge("output", "x", ABOUT), await whole.judge("input", "x", ABOUT)]
    judged.append(await bare.judge("output", "x", ABOUT))
    assert [each and each.outcome for each in judged] == ["flagged", "failed", "failed"]
