"""The outcome of one check: its state, what was found and, for a fault, how to mend it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class State(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    state: State
    message: str
    mend: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        return asdict(self)


def ok(name: str, message: str) -> Check:
    return Check(name, State.OK, message)


def warned(name: str, message: str, mend: str) -> Check:
    return Check(name, State.WARN, message, mend)


def failed(name: str, message: str, mend: str) -> Check:
    return Check(name, State.FAIL, message, mend)
