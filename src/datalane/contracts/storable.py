"""Text and moments that people send and the database can hold."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime

_FIRST, _LAST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
"""A day within what a datetime holds: at its very ends the driver means minus and plus infinity."""

BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Embeddings, overrides and isolates: they make a text show in another order than it is stored in."""


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must hold no NUL character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("must hold no lone surrogate") from error
    return text


def _shown(text: str) -> str:
    label = _storable(text).strip()
    if BIDI.search(label):
        raise ValueError("must hold no bidirectional control character, which shows a text in another order than it is")
    if any(unicodedata.category(character) == "Cc" for character in label):
        raise ValueError("must hold no control character")
    return label


def _within_years(moment: datetime) -> datetime:
    try:
        told = moment.astimezone(UTC)
    except OverflowError:
        told = None
    if told is None or not _FIRST <= told <= _LAST:
        raise ValueError("must be between the years 1 and 9999 of UTC")
    return told


Text = Annotated[str, AfterValidator(_storable)]
Label = Annotated[str, AfterValidator(_shown)]
"""A name in one line that shows as it is stored; without white space around it."""
Moment = Annotated[AwareDatetime, AfterValidator(_within_years)]
"""With its offset; it becomes one of UTC."""


def read_date(value: Any) -> datetime:
    """A date (midnight UTC) or a moment with its offset, in ISO 8601. Raises `ValueError`."""
    if not isinstance(value, str):
        raise ValueError("must be a date or a moment, as text in ISO 8601")
    try:
        read = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("must be a date (2026-03-01) or a moment (2026-03-01T09:30:00Z) in ISO 8601") from None
    if read.tzinfo is None:
        if len(value) > len("2026-03-01"):
            raise ValueError("must say its offset from UTC, as in 2026-03-01T09:30:00Z")
        read = read.replace(tzinfo=UTC)
    try:
        return read.astimezone(UTC)
    except OverflowError:
        raise ValueError("is outside the years 1 to 9999 in UTC") from None
