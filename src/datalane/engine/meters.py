"""Meters: what is used up, by name, and who may say no before more of it is used.

Whoever is about to use something asks by the meters that it would move; each bound that a domain has put on one of them
is asked, a workspace's own budget as well as whatever else the lane sells or limits.

    refusal = await meters.ask(tx, {"agent.tokens": Adding(Decimal(800))}, now)

An answer is about this moment: nothing is set aside, so uses that were allowed side by side may together pass a bound,
each by what it uses itself. What is asked for after that is refused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from datalane.db.transaction import Transaction
from datalane.errors import ConfigurationError, InvalidInput


@dataclass(frozen=True, slots=True)
class Adding:
    """What would be added, in the `unit` of it where the meter has several (a currency). 0 asks whether all is used up
    already."""

    amount: Decimal = Decimal(0)
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Which meter is bounded, and why the use is too much for it."""

    meter: str
    reason: str


Bound = Callable[[Transaction, Mapping[str, Adding], datetime], Awaitable[Refusal | None]]
"""Says why not, or None. It is given the meters that it bounds, of those that are asked about."""
Holds = Callable[[Transaction], Awaitable[bool]]
"""Whether a bound is one for the workspace of a transaction."""


@dataclass(frozen=True, slots=True)
class _Bounded:
    names: frozenset[str]
    bound: Bound
    holds: Holds | None


@dataclass
class Meters:
    """The meters of one lane and what bounds them."""

    _bounds: list[_Bounded] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)

    def name(self, *names: str) -> None:
        """Say that there are these meters. Raises `ConfigurationError` for one that is there."""
        if taken := sorted(self._names & set(names)):
            raise ConfigurationError(f"there is a meter {taken[0]} already")
        self._names |= set(names)

    def bound(self, names: Collection[str], bound: Bound, holds: Holds | None = None) -> None:
        """Ask `bound` before any of them is moved, and `holds` whether to ask it in a workspace at all; without it,
        always. Raises `ConfigurationError` for a meter that is not there."""
        if unknown := sorted(set(names) - self._names):
            raise ConfigurationError(f"there is no meter {unknown[0]}")
        self._bounds.append(_Bounded(frozenset(names), bound, holds))

    async def is_bounded(self, tx: Transaction, *names: str) -> bool:
        """Whether anything bounds one of them in this workspace."""
        for each in self._bounds:
            if not each.names.isdisjoint(names) and (each.holds is None or await each.holds(tx)):
                return True
        return False

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._names)

    def take_over(self, other: Meters) -> None:
        """Name and bound what the other one does as well; what both have stays once."""
        self._names |= other._names
        self._bounds += [each for each in other._bounds if each not in self._bounds]

    async def ask(self, tx: Transaction, adding: Mapping[str, Adding], now: datetime) -> Refusal | None:
        """The first refusal, in the order in which the bounds were put; None when all of it may be used.

        Raises `InvalidInput` for a meter that is not there and an amount below 0.
        """
        for name, added in adding.items():
            if name not in self._names:
                raise InvalidInput(f"there is no meter {name[:80]!r}")
            if not added.amount >= 0:
                raise InvalidInput(f"the meter {name} is moved forwards only")
        for each in self._bounds:
            asked = {name: added for name, added in adding.items() if name in each.names}
            refusal = await each.bound(tx, asked, now) if asked else None
            if refusal is not None:
                return refusal
        return None
