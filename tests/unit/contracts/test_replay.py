from __future__ import annotations

from uuid import UUID

import pytest
from pydantic import BaseModel, ValidationError

from datalane.contracts.replay import Choice, Replayed

ID = UUID(int=7)


class Colour(BaseModel):
    colour: str = "red"


class ColourChoice(Choice[Colour]):
    pass


@pytest.mark.parametrize("said", [{}, {"ids": [ID], "where": {}}, {"ids": []}, {"ids": [ID], "colour": "red"}])
def test_a_choice_says_either_ids_or_what_they_have_in_common(said: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ColourChoice.model_validate(said)


def test_an_empty_filter_is_one() -> None:
    assert ColourChoice.model_validate({"where": {}}).where == Colour()


@pytest.mark.parametrize(
    ("matched", "made", "told"),
    [
        (3, 3, (3, 3, 0)),
        (3, 1, (3, 1, 2)),
        (25, 10, (25, 10, 0)),
        (25, 8, (25, 8, 2)),
        (2, 3, (3, 3, 0)),  # one came since they were counted
        (0, 0, (0, 0, 0)),
    ],
)
def test_what_was_not_replayed_was_skipped_or_is_left(matched: int, made: int, told: tuple[int, int, int]) -> None:
    done = Replayed.done(matched, 10, [ID] * made)
    assert (done.matched, done.replayed, done.skipped) == told
    assert (len(done.ids), done.dry_run) == (made, False)


def test_a_dry_run_replays_nothing() -> None:
    counted = Replayed.counted(5)
    assert (counted.matched, counted.replayed, counted.skipped, counted.ids, counted.dry_run) == (5, 0, 0, [], True)
