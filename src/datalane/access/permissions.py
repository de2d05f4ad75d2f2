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
