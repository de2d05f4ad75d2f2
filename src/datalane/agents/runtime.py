"""What agents need while the process runs: the meters that are asked before they call a model."""

from __future__ import annotations

from dataclasses import dataclass

from datalane.engine.meters import Meters


@dataclass(frozen=True, slots=True)
class AgentsRuntime:
    meters: Meters
