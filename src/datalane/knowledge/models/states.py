"""The life of an embedding model in a workspace. Vectors are made by every model that is not retired."""

from __future__ import annotations

from datalane.kit.lifecycle import Lifecycle

MODEL = Lifecycle(
    "embedding model",
    "filling",
    {
        "filling": frozenset({"ready", "retired"}),
        "ready": frozenset({"active", "retired"}),
        "active": frozenset({"ready"}),
        "retired": frozenset({"filling"}),
    },
)
