"""The life of a connector. A credential that can be had anew never ends it; revoking does, and for good."""

from __future__ import annotations

from datalane.kit.lifecycle import Lifecycle

CONNECTOR = Lifecycle(
    "connector",
    "connected",
    {
        "connected": frozenset({"degraded", "revoked"}),
        "degraded": frozenset({"connected", "revoked"}),
        "revoked": frozenset(),
    },
)
