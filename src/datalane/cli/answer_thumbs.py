"""What people said of whole answers, as `datalane eval` tells it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from datalane.cli.output import printable

if TYPE_CHECKING:
    from datalane.knowledge.feedback.schemas import AnswerThumbs


def lines_of_answers(answers: Sequence[AnswerThumbs]) -> list[str]:
    """A line for each model that wrote them."""
    return [f"answers of {printable(one.answer_model_version or '-')}: {one.up} up, {one.down} down" for one in answers]
