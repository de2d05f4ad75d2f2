"""The variables `DATALANE_*` as a whole: which ones there are, and which of those that are set would be ignored.

A setting whose name is mistyped is worse than one whose value is wrong: the program runs, with the default. So a
variable with our prefix that nothing reads is a fault.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from pydantic import BaseModel

PREFIX = "DATALANE_"
OF_COMMANDS = frozenset({"DATALANE_ADMIN_URL", "DATALANE_GUARD_DATABASE_URL"})
"""Read by one command each, `init` and `guard`; no settings."""

OF_THE_SUPERVISOR = frozenset({"DATALANE_READY_FD", "DATALANE_GATE_FD", "DATALANE_LISTEN_FD"})
"""Handed by `datalane up` to its children."""

_CLOSE = 0.6
_SERVICE = re.compile(
    r"DATALANE_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_LINK = re.compile(r"DATALANE_(\w+_)?PORT=(tcp|udp|sctp)://.*")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a variable, and how to mend it. Never its value, which may be a secret."""

    variable: str
    message: str
    mend: str

    def __str__(self) -> str:
        return f"{self.variable}: {self.message}; {self.mend}"


def variables_of(model: type[BaseModel], path: str = PREFIX) -> dict[str, str]:
    """The variable of each setting, with that of the group it stands in (the prefix for one that stands in none)."""
    found = dict[str, str]()
    for name, field in model.model_fields.items():
        variable = f"{path}{name.upper()}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= variables_of(field.annotation, f"{variable}__")
        else:
            found[variable] = path
    return found


def find_unknown(environment: Mapping[str, str], model: type[BaseModel]) -> Iterator[Fault]:
    """A fault for each variable with our prefix that is read by nothing, with the nearest one that is."""
    settings = variables_of(model)
    known = {*settings, *OF_COMMANDS, *OF_THE_SUPERVISOR}
    groups = {group.removesuffix("__") for group in settings.values()}
    for name in sorted(environment):
        variable = name.upper()
        if not variable.startswith(PREFIX) or variable in known or _is_of_a_service(variable, environment[name]):
            continue
        if variable in groups:
            first = next(each for each, group in settings.items() if group == f"{variable}__")
            yield Fault(name, "is a group of settings", f"set each by its own variable, such as {first}")
        else:
            yield Fault(name, "is no setting of this version", _correction(variable, {*settings, *OF_COMMANDS}))


def _correction(variable: str, known: Collection[str]) -> str:
    near = _nearest(variable, known)
    return f"did you mean {near}?" if near else "remove it, or look its name up in the reference of settings"


def _nearest(variable: str, known: Collection[str]) -> str | None:
    """By the name without its group (`PORT`), else by its letters, without the prefix that all share."""
    named = {each.removeprefix(PREFIX): each for each in sorted(known)}
    given = variable.removeprefix(PREFIX)
    alike = [full for short, full in named.items() if short.replace("__", "_") == given.replace("__", "_")]
    alike = alike or [full for short, full in named.items() if short.rpartition("__")[2] == given]
    if len(alike) == 1:
        return alike[0]
    close = get_close_matches(given, named, n=1, cutoff=_CLOSE)
    return named[close[0]] if close else None


def _is_of_a_service(variable: str, value: str) -> bool:
    """Whether a container platform made it, for a service that is called `datalane` or `datalane-…` there."""
    return bool(_SERVICE.fullmatch(variable) or _LINK.fullmatch(f"{variable}={value}"))
