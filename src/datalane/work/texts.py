"""Titles and descriptions: what people write is kept as it is, but for what deceives whoever reads it."""

from __future__ import annotations

import unicodedata

from datalane.contracts.storable import BIDI
from datalane.errors import InvalidInput
from datalane.settings import Limits

DESCRIPTION_CHARACTERS = 20_000
_LINE_BREAKS = frozenset("\n\r\t")


def check_title(value: str, field: str, limits: Limits) -> str:
    """The title without white space around it. Raises `InvalidInput` naming `field`."""
    title = value.strip()
    if not title:
        raise _refused(field, "is empty")
    if len(title) > limits.title_characters:
        raise _refused(
            field, f"has {len(title):,} characters, the limit is {limits.title_characters:,} (limits.title_characters)"
        )
    return _check_characters(title, field, frozenset())


def check_description(value: str, field: str) -> str:
    """Raises `InvalidInput` naming `field`."""
    if len(value) > DESCRIPTION_CHARACTERS:
        raise _refused(field, f"has {len(value):,} characters, the limit is {DESCRIPTION_CHARACTERS:,}")
    return _check_characters(value, field, _LINE_BREAKS)


def check_name(value: str, field: str, most: int) -> str:
    """A short label such as a tag or the name of a view. Raises `InvalidInput` naming `field`."""
    name = value.strip()
    if not 1 <= len(name) <= most:
        raise _refused(field, f"has 1 to {most} characters")
    return _check_characters(name, field, frozenset())


def _check_characters(text: str, field: str, allowed: frozenset[str]) -> str:
    if BIDI.search(text):
        raise _refused(field, "holds a bidirectional control character, which shows a text in another order than it is")
    if any(unicodedata.category(character) in {"Cc", "Cs"} and character not in allowed for character in text):
        raise _refused(field, "holds a control character, such as NUL, or half a surrogate pair")
    return text


def _refused(field: str, message: str) -> InvalidInput:
    return InvalidInput(f"{field} {message}", [{"field": field, "message": message, "code": "invalid_text"}])
