"""What is wrong with a query, in the words of whoever wrote it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from datalane.errors import InvalidInput

MOST_FAULTS = 50
_SHOWN = 80
"""Characters that an error repeats of a name that the caller made up."""

Place = tuple[str | int, ...]
Fault = dict[str, str]


def rewritten(error: ValidationError, said: Any, known: Callable[[Place], Sequence[str]]) -> ValidationError:
    """The faults at the places where they stand in `said`, and of a name that does not exist those that do.

    `known` are the names that exist at a place.
    """
    lines: list[InitErrorDetails] = []
    for fault in error.errors(include_url=False, include_input=False):
        place = _place(fault["loc"], said)
        code, message = fault["type"], fault["msg"]
        if code == "extra_forbidden":
            code, message = _unknown(place, known(place[:-1]))
        told = PydanticCustomError(code, "{message}", {"message": message})
        lines.append(InitErrorDetails(type=told, loc=tuple(map(_short, place)), input=None))
    return ValidationError.from_exception_data(error.title, lines[:MOST_FAULTS])


def refused(faults: Sequence[Fault]) -> InvalidInput:
    """The error that names every fault."""
    said = "; ".join(f"{fault['field']}: {fault['message']}" for fault in faults[:3])
    return InvalidInput(f"the query is not valid: {said}", faults[:MOST_FAULTS])


def faults_of(error: ValidationError) -> list[Fault]:
    return [
        {"field": ".".join(map(str, fault["loc"])) or "query", "message": fault["msg"], "code": fault["type"]}
        for fault in error.errors(include_url=False, include_input=False, include_context=False)
    ]


def _place(location: Place, said: Any) -> Place:
    """Where in `said` it is: without the comparison that stands for a bare value."""
    place: list[str | int] = []
    here = said
    for part in location:
        if isinstance(here, Mapping):
            place.append(part)
            here = here.get(part)
        elif isinstance(here, list | tuple) and isinstance(part, int):
            place.append(part)
            here = here[part] if part < len(here) else None
    return tuple(place)


def _unknown(place: Place, names: Sequence[str]) -> tuple[str, str]:
    kind = "filter" if place[:-1] == ("filters",) else "comparison" if place[0] == "filters" else "member"
    return f"unknown_{kind}", f"there is no {kind} {_short(place[-1])}; there are {', '.join(names)}"


def _short(part: str | int) -> str | int:
    return part if isinstance(part, int) or len(part) <= _SHOWN else f"{part[:_SHOWN]}…"
