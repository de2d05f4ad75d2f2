"""The states of demo access, and what each signal does in each of them, as data.

The database has the same table (`datalane.access_rule`), and a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from datalane.kit.lifecycle import Lifecycle

State = Literal["pending", "active", "grace", "suspended", "expired", "deactivated"]
Signal = Literal["activate", "renew", "suspend", "resume", "end", "grace_over", "deactivate", "reactivate", "correct"]
Standing = Literal["enabled", "grace", "disabled"]

STATES: tuple[State, ...] = get_args(State)
SIGNALS: tuple[Signal, ...] = get_args(Signal)


@dataclass(frozen=True, slots=True)
class Ignored:
    """The signal does nothing in this state, and why."""

    reason: str


_NEVER = Ignored("it was never activated")
_EXPIRED = Ignored("it has expired")
_GONE = Ignored("it is deactivated")
_COME_BACK = Ignored("it is deactivated; reactivate brings it back")
_NOT_GONE = Ignored("it is not deactivated")
_NOT_SUSPENDED = Ignored("it is not suspended")

RULES: Mapping[State, Mapping[str, State | Ignored]] = {
    "pending": {
        "activate": "active",
        "renew": _NEVER,
        "suspend": _NEVER,
        "resume": _NEVER,
        "end": _NEVER,
        "grace_over": _NEVER,
        "deactivate": "deactivated",
        "reactivate": _NOT_GONE,
    },
    "active": {
        "activate": "active",
        "renew": "active",
        "suspend": "suspended",
        "resume": _NOT_SUSPENDED,
        "end": "grace",
        "grace_over": Ignored("it is not in grace"),
        "deactivate": "deactivated",
        "reactivate": _NOT_GONE,
    },
    "grace": {
        "activate": "active",
        "renew": "active",
        "suspend": "suspended",
        "resume": _NOT_SUSPENDED,
        "end": Ignored("its period has ended"),
        "grace_over": "expired",
        "deactivate": "deactivated",
        "reactivate": _NOT_GONE,
    },
    "suspended": {
        "activate": "suspended",
        "renew": "suspended",
        "suspend": Ignored("it is suspended"),
        "resume": "active",
        "end": "expired",
        "grace_over": "expired",
        "deactivate": "deactivated",
        "reactivate": _NOT_GONE,
    },
    "expired": {
        "activate": "active",
        "renew": "active",
        "suspend": _EXPIRED,
        "resume": _EXPIRED,
        "end": _EXPIRED,
        "grace_over": _EXPIRED,
        "deactivate": "deactivated",
        "reactivate": _NOT_GONE,
    },
    "deactivated": {
        "activate": _COME_BACK,
        "renew": _COME_BACK,
        "suspend": _GONE,
        "resume": _COME_BACK,
        "end": _GONE,
        "grace_over": _GONE,
        "deactivate": _GONE,
        "reactivate": "active",
    },
}
"""A correction is not here: it leads from every state to the one that it names."""

FALLS: Mapping[State, frozenset[State]] = {
    "active": frozenset({"grace", "expired"}),
    "grace": frozenset({"expired"}),
    "suspended": frozenset({"expired"}),
}
"""Where time alone leads: when a period has ended, and when the grace after it is over."""

STANDING: Mapping[State, Standing] = {"active": "enabled", "grace": "grace"}
"""What the plan is worth in a state; in the others everything is off."""


def _reached(state: State) -> frozenset[str]:
    """Where signals and time lead from a state; a period that has ended when it is told leads on at once."""
    told = {target for target in RULES[state].values() if not isinstance(target, Ignored)}
    told |= FALLS.get(state, frozenset())
    return frozenset(told.union(*(FALLS.get(target, frozenset()) for target in told)) - {state})


DEMO_ACCESS = Lifecycle("demo access", "pending", {state: _reached(state) for state in STATES})
"""What sources and time do. An operator's correction may lead anywhere."""


def standing_of(state: State) -> Standing:
    return STANDING.get(state, "disabled")
