"""Values of settings: what they are written as, and what they become."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field, TypeAdapter
from pydantic_settings import NoDecode

KIB = 1024
MIB = 1024 * KIB

Bytes = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]


def _seconds(value: object) -> object:
    """A bare number is seconds; anything else is for pydantic (ISO 8601)."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


Duration = Annotated[timedelta, BeforeValidator(_seconds), Field(gt=timedelta())]


LongDuration = Annotated[timedelta, BeforeValidator(_seconds), Field(ge=timedelta(hours=1))]


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `burst` at once, and one more after each `pause`. Written `10/PT1M` or `10/60`."""

    burst: int
    pause: timedelta

    @classmethod
    def read(cls, text: str) -> Rate:
        burst, _, pause = text.partition("/")
        rate = cls(int(burst), TypeAdapter(Duration).validate_python(pause))
        if rate.burst < 1:
            raise ValueError
        return rate

    def __str__(self) -> str:
        return f"{self.burst}/{TypeAdapter(timedelta).dump_python(self.pause, mode='json')}"


def _rate(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return Rate.read(value)
    except ValueError:
        raise ValueError("must be a count and the seconds until one more is allowed, such as 10/60") from None


Attempts = Annotated[Rate, BeforeValidator(_rate), NoDecode]


def listed(value: object) -> object:
    """A list of objects, written as JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError("must be JSON, a list of objects") from None


def split(value: object) -> object:
    """Parts with commas between them."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


MOST_WAITING = timedelta(days=5)
"""Of one delivery, from its first attempt to its last: what waits for longer loses its job."""


@dataclass(frozen=True, slots=True)
class Pauses:
    """How long to wait after the first failed attempt, after the second, and so on; after the last there is none.
    Written in seconds, `5,300,1800`."""

    each: tuple[timedelta, ...]

    @classmethod
    def read(cls, text: str) -> Pauses:
        pauses = cls(tuple(timedelta(seconds=float(part)) for part in text.split(",")))
        if min(pauses.each) <= timedelta() or sum(pauses.each, timedelta()) > MOST_WAITING:
            raise ValueError
        return pauses

    def __str__(self) -> str:
        return ",".join(f"{pause.total_seconds():g}" for pause in self.each)


def _pauses(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return Pauses.read(value)
    except (ValueError, OverflowError):
        raise ValueError("must be seconds with commas between them, such as 5,300,1800, five days at most") from None


PausesInSeconds = Annotated[Pauses, BeforeValidator(_pauses), NoDecode]
