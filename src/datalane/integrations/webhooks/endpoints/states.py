"""The life of an endpoint. Only an enabled one is sent anything; what happens meanwhile is kept for it."""

from datalane.kit.lifecycle import Lifecycle

ENDPOINT = Lifecycle(
    "webhook endpoint",
    "enabled",
    {
        "enabled": frozenset({"paused", "disabled", "removed"}),
        "paused": frozenset({"enabled", "disabled", "removed"}),
        "disabled": frozenset({"enabled", "removed"}),
        "removed": frozenset(),
    },
)
