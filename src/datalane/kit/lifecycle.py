"""State machines as data: one table of transitions gives the guard, the CHECK text, the diagram and the tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from datalane.errors import IllegalTransition


@dataclass(frozen=True)
class Lifecycle:
    """`transitions` maps each state to the states it may go to."""

    name: str
    initial: str
    transitions: Mapping[str, frozenset[str]]

    def __post_init__(self) -> None:
        unknown = {target for targets in self.transitions.values() for target in targets} - set(self.transitions)
        if unknown or self.initial not in self.transitions:
            raise ValueError(f"{self.name}: states without a row: {sorted(unknown | {self.initial})}")

    @property
    def states(self) -> tuple[str, ...]:
        return tuple(self.transitions)

    @property
    def terminal(self) -> frozenset[str]:
        return frozenset(state for state, targets in self.transitions.items() if not targets)

    def sources(self, target: str) -> list[str]:
        """The states from which `target` may be reached, for `WHERE status = ANY(…)`."""
        return [state for state, targets in self.transitions.items() if target in targets]

    def check(self, source: str, target: str) -> None:
        """Raises `IllegalTransition` naming the states that would be allowed."""
        if target not in self.transitions.get(source, frozenset()):
            allowed = ", ".join(sorted(self.transitions.get(source, ()))) or "none, it is terminal"
            raise IllegalTransition(f"{self.name} cannot go from {source} to {target}; allowed: {allowed}")

    def check_clause(self, column: str = "status") -> str:
        """The text of the CHECK constraint that holds `column` to the known states."""
        return f"{column} IN ({', '.join(repr(state) for state in self.states)})"

    def mermaid(self) -> str:
        """A Mermaid state diagram for the docs."""
        lines = ["stateDiagram-v2", f"    [*] --> {self.initial}"]
        for source, targets in self.transitions.items():
            lines += [f"    {source} --> {target}" for target in sorted(targets)]
        lines += [f"    {state} --> [*]" for state in self.states if state in self.terminal]
        return "\n".join(lines)
