"""The outcome of each thing that was tried."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """From the mildest to the gravest."""

    NOT_APPLICABLE = "not applicable"
    HOLDS = "holds"
    TOO_TIGHT = "too tight"
    LEAK = "leak"


_GRAVITY = list(Verdict)


@dataclass(frozen=True, slots=True)
class Cell:
    """What `actor` got from `subject` (a table or verb) by `probe`. `detail` says what happened, or why it cannot."""

    subject: str
    probe: str
    actor: str
    verdict: Verdict
    detail: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.subject, self.probe, self.actor)

    @property
    def is_fault(self) -> bool:
        return self.verdict in {Verdict.LEAK, Verdict.TOO_TIGHT}

    def as_dict(self) -> dict[str, str]:
        return {
            "subject": self.subject,
            "probe": self.probe,
            "actor": self.actor,
            "verdict": self.verdict.value,
            "detail": self.detail,
        }


class Cells:
    """Cells by key; of several outcomes for one key the gravest stays."""

    def __init__(self, cells: Iterable[Cell] = ()) -> None:
        self._by_key: dict[tuple[str, str, str], Cell] = {}
        for cell in cells:
            self.add(cell)

    def add(self, cell: Cell) -> None:
        known = self._by_key.get(cell.key)
        if known is None or _GRAVITY.index(cell.verdict) > _GRAVITY.index(known.verdict):
            self._by_key[cell.key] = cell

    def get(self, key: tuple[str, str, str]) -> Cell | None:
        return self._by_key.get(key)

    def __iter__(self) -> Iterator[Cell]:
        return iter(self._by_key.values())

    def __len__(self) -> int:
        return len(self._by_key)

    def of(self, verdict: Verdict) -> list[Cell]:
        return [cell for cell in self if cell.verdict is verdict]
