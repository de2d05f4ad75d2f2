"""Whether and when to start a service again: pure functions of how it died."""

from __future__ import annotations

from dataclasses import dataclass

CONFIGURATION_EXIT = 2
"""The exit status of a command that met an expected fault, which starting again does not mend."""


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Seconds. The first restart waits `base`, each further one twice as long, up to `cap`.

    A run of at least `steady` clears the count. A service that was never ready gets `tries` starts.
    """

    base: float = 0.1
    cap: float = 10.0
    steady: float = 30.0
    tries: int = 4


@dataclass(frozen=True, slots=True)
class Death:
    """`deaths` counts those before this one in a row; `uptime` is in seconds; `was_ready` is about any run so far."""

    deaths: int
    uptime: float
    was_ready: bool
    exit_status: int


@dataclass(frozen=True, slots=True)
class Restart:
    deaths: int
    delay: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    deaths: int


def after_death(policy: RestartPolicy, death: Death) -> Restart | GiveUp:
    """A service that has been ready once is restarted for ever; one that never was is a fault to report."""
    deaths = 1 if death.uptime >= policy.steady else death.deaths + 1
    if not death.was_ready and (deaths >= policy.tries or death.exit_status == CONFIGURATION_EXIT):
        return GiveUp(deaths)
    return Restart(deaths, min(policy.cap, policy.base * 2.0 ** min(deaths - 1, 30)))
