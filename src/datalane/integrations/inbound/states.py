"""What becomes of a delivery that looks like one that came already."""

from __future__ import annotations

from datalane.kit.lifecycle import Lifecycle

HELD = Lifecycle(
    "held delivery",
    "held",
    {"held": frozenset({"released", "dismissed"}), "released": frozenset(), "dismissed": frozenset()},
)
