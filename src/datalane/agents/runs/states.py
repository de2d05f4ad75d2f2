"""The lives of a run and of a tool call. The database holds the same tables (`datalane.agent_run_may_go` and
`datalane.tool_call_may_go`), and only its verbs write a status.

A run that nobody took up in time passes through `running` on its way to `failed`, in the same statement.
"""

from __future__ import annotations

from datalane.kit.lifecycle import Lifecycle

RUN = Lifecycle(
    "agent run",
    "queued",
    {
        "queued": frozenset({"running"}),
        "running": frozenset({"waiting_tool", "completed", "failed", "blocked_policy", "escalated_human"}),
        "waiting_tool": frozenset({"running", "retrying", "failed"}),
        "retrying": frozenset({"running", "failed", "escalated_human"}),
        "completed": frozenset(),
        "failed": frozenset(),
        "blocked_policy": frozenset(),
        "escalated_human": frozenset(),
    },
)
TOOL_CALL = Lifecycle(
    "tool call",
    "requested",
    {
        "requested": frozenset({"authorized", "blocked_policy"}),
        "authorized": frozenset({"executing", "canceled"}),
        "executing": frozenset({"succeeded", "retrying", "failed"}),
        "retrying": frozenset({"executing", "failed"}),
        "succeeded": frozenset(),
        "failed": frozenset(),
        "blocked_policy": frozenset(),
        "canceled": frozenset(),
    },
)
ERROR_CLASSES = (
    "timeout",
    "validation_error",
    "authz_denied",
    "policy_denied",
    "provider_error",
    "dependency_unavailable",
    "unexpected_internal",
)
