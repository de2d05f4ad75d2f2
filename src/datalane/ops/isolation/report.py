"""The proof's result: numbers first, every fault by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from datalane.ops.isolation.cells import Cell, Verdict
from datalane.ops.isolation.kill import Fate
from datalane.ops.isolation.rules import Fault


@dataclass(frozen=True, slots=True)
class Uncovered:
    """A table, verb or route without an outcome, and why."""

    subject: str
    why: str

    def as_dict(self) -> dict[str, str]:
        return {"subject": self.subject, "why": self.why}


@dataclass(frozen=True)
class RouteReport:
    """What the proof of the routes found; `subject` of its cells and of what is uncovered is a method and a path.

    `mutants` counts the faults that were put into routes, by who killed them.
    """

    routes: int = 0
    cells: Sequence[Cell] = ()
    uncovered: Sequence[Uncovered] = ()
    killed_by: Counter[str] = field(default_factory=Counter)
    survivors: Sequence[str] = ()

    @classmethod
    def together(cls, shares: Sequence[RouteReport]) -> RouteReport:
        """Of shares of the routes, one report of all."""
        return cls(
            sum(share.routes for share in shares),
            [cell for share in shares for cell in share.cells],
            [one for share in shares for one in share.uncovered],
            sum((share.killed_by for share in shares), Counter()),
            [name for share in shares for name in share.survivors],
        )


@dataclass(frozen=True)
class Report:
    """`seconds` is the time of the proof without that of making its server."""

    tables: int
    verbs: int
    cells: Sequence[Cell]
    uncovered: Sequence[Uncovered]
    faults: Sequence[Fault]
    fates: Sequence[Fate]
    seconds: float
    routes: RouteReport | None = None

    @property
    def all_cells(self) -> list[Cell]:
        return [*self.cells, *(self.routes.cells if self.routes else ())]

    @property
    def leaks(self) -> list[Cell]:
        return [cell for cell in self.all_cells if cell.verdict is Verdict.LEAK]

    @property
    def too_tight(self) -> list[Cell]:
        return [cell for cell in self.all_cells if cell.verdict is Verdict.TOO_TIGHT]

    @property
    def all_uncovered(self) -> list[Uncovered]:
        return [*self.uncovered, *(self.routes.uncovered if self.routes else ())]

    @property
    def survivors(self) -> list[str]:
        ours = [f"{fate.mutant.name} ({fate.detail})" for fate in self.fates if fate.killer is None]
        return ours + list(self.routes.survivors if self.routes else ())

    @property
    def killed_by(self) -> Counter[str]:
        ours = Counter(fate.killer for fate in self.fates if fate.killer is not None)
        return ours + (self.routes.killed_by if self.routes else Counter())

    @property
    def holds(self) -> bool:
        return not (self.leaks or self.too_tight or self.all_uncovered or self.faults or self.survivors)

    def as_dict(self) -> dict[str, Any]:
        killed = sum(self.killed_by.values())
        return {
            "ok": self.holds,
            "tables": self.tables,
            "verbs": self.verbs,
            "routes": self.routes.routes if self.routes else 0,
            "cells": len(self.all_cells),
            "not_applicable": sum(cell.verdict is Verdict.NOT_APPLICABLE for cell in self.all_cells),
            "leaks": len(self.leaks),
            "too_tight": len(self.too_tight),
            "uncovered": len(self.all_uncovered),
            "rule_faults": len(self.faults),
            "mutants": killed + len(self.survivors),
            "killed": killed,
            "survivors": len(self.survivors),
            "killed_by": dict(sorted(self.killed_by.items())),
            "seconds": round(self.seconds, 1),
            "found": {
                "leaks": [cell.as_dict() for cell in self.leaks],
                "too_tight": [cell.as_dict() for cell in self.too_tight],
                "uncovered": [one.as_dict() for one in self.all_uncovered],
                "rule_faults": [fault.as_dict() for fault in self.faults],
                "survivors": self.survivors,
            },
        }
