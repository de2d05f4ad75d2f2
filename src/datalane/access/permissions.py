"""What may be done with plans, entitlements and usage, and by whom.

What is for the system alone the operator of the lane does: a workspace does not give itself a plan.
"""

from datalane.contracts.authorization import MATRIX
from datalane.contracts.context import Role

# Entitlements
READ_ENTITLEMENTS = MATRIX.allow(
    Role.VIEWER,
    "entitlement.read",
    needs=[
        *(f"datalane.{verb}" for verb in ("plan_at", "plan_timeline", "entitlements_at")),
        *(f"datalane.{table}:select" for table in ("workspace_plans", "entitlement_overrides", "entitlement_versions")),
    ],
)
ASSIGN_PLANS = MATRIX.allow(Role.SYSTEM, "plan.assign", needs=["datalane.assign_plan", "datalane.cancel_plan"])
OVERRIDE_ENTITLEMENTS = MATRIX.allow(
    Role.SYSTEM, "entitlement.override", needs=["datalane.override_entitlement", "datalane.end_override"]
)

# Usage
USE_QUOTAS = MATRIX.allow(
    Role.MEMBER,
    "usage.consume",
    needs=[
        f"datalane.{verb}"
        for verb in ("consume", "consume_batch", "consume_sold", "reserve_usage", "commit_usage", "release_usage")
    ],
)
READ_USAGE = MATRIX.allow(
    Role.VIEWER,
    "usage.read",
    needs=[
        *(f"datalane.{verb}" for verb in ("usage_at", "usage_differences")),
        *(f"datalane.{table}:select" for table in ("usage_counters", "usage_ledger", "usage_reservations")),
    ],
)
CORRECT_USAGE = MATRIX.allow(
    Role.SYSTEM,
    "usage.correct",
    needs=[f"datalane.{verb}" for verb in ("correct_usage", "reset_usage", "repair_usage")],
)

# Demo access
READ_DEMO_ACCESS = MATRIX.allow(
    Role.VIEWER,
    "demo_access.read",
    needs=[f"datalane.{table}:select" for table in ("demo_access", "access_signals", "access_history")],
)
READ_ACCESS_HISTORY = MATRIX.allow(Role.ADMIN, "demo_access.read_history", needs=["datalane.read_access_notes"])
# A rule may hand signals on that a source has signed; whether they are, is looked at again.
RELAY_SIGNALS = MATRIX.allow(Role.ADMIN, "demo_access.relay")
SIGNAL_ACCESS = MATRIX.allow(Role.SYSTEM, "demo_access.signal", needs=["datalane.record_access_signals"])
MEND_ACCESS = MATRIX.allow(
    Role.SYSTEM,
    "demo_access.mend",
    needs=[
        f"datalane.{verb}"
        for verb in ("settle_demo_access", "release_access_signals", "lock_demo_access", "note_access_difference")
    ],
)

# Analytics
_TRACKING = ("tracking_plan", "tracking_retirements")
_ANALYTICS = ("analytics_events", "analytics_quarantine", "integrity_anomalies")

READ_ANALYTICS = MATRIX.allow(
    Role.VIEWER,
    "analytics.read",
    needs=["datalane.read_tracked_events", *(f"datalane.{table}:select" for table in (*_TRACKING, *_ANALYTICS))],
)
RECORD_ANALYTICS = MATRIX.allow(
    Role.MEMBER, "analytics.record", needs=["datalane.record_analytics", "datalane.hold_analytics"]
)
MANAGE_TRACKING = MATRIX.allow(
    Role.ADMIN, "tracking_plan.manage", needs=[f"datalane.{table}:insert" for table in _TRACKING]
)
MEND_ANALYTICS = MATRIX.allow(
    Role.ADMIN,
    "analytics.mend",
    needs=[f"datalane.{verb}_analytics" for verb in ("take", "land", "repair", "explain", "discard")],
)
RESOLVE_ANOMALIES = MATRIX.allow(Role.SYSTEM, "integrity_anomaly.resolve", needs=["datalane.resolve_integrity_anomaly"])
