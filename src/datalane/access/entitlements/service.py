"""What a workspace may: asked by anybody in it, changed by the operator of the lane."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from datalane.access.entitlements.schemas import (
    Entitlement,
    EntitlementList,
    EntitlementStatus,
    FeatureAnswer,
    HeldPlan,
)
from datalane.access.permissions import ASSIGN_PLANS, OVERRIDE_ENTITLEMENTS, READ_ENTITLEMENTS
from datalane.db.faults import translated
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.kit.clock import utc_now

_queries = load_queries(__file__)


async def get_plan(tx: Transaction, at: datetime | None = None) -> HeldPlan | None:
    """The plan that is enforced at a moment, or now."""
    READ_ENTITLEMENTS.check(tx.context)
    row = await _queries.plan_at(tx.connection, at=at or utc_now())
    return None if row is None else HeldPlan(**row)


async def list_entitlements(tx: Transaction, at: datetime | None = None) -> EntitlementList:
    """Every feature that the plan or an override names, with its status."""
    READ_ENTITLEMENTS.check(tx.context)
    moment = at or utc_now()
    rows = await _queries.entitlements_at(tx.connection, at=moment, only_key=None)
    return EntitlementList(
        workspace_id=tx.workspace_id,
        plan=await get_plan(tx, moment),
        version=await _queries.get_version(tx.connection, workspace_id=tx.workspace_id) or 0,
        data=[Entitlement(**row) for row in rows],
    )


async def check_feature(tx: Transaction, feature_key: str, at: datetime | None = None) -> FeatureAnswer:
    """Whether the workspace may use the feature, why or why not, and until when."""
    READ_ENTITLEMENTS.check(tx.context)
    moment = at or utc_now()
    rows = await _queries.entitlements_at(tx.connection, at=moment, only_key=feature_key)
    if rows:
        held = Entitlement(**rows[0])
        return FeatureAnswer(
            feature_key=feature_key,
            allowed=held.entitlement_status != "disabled",
            entitlement_status=held.entitlement_status,
            reason=_why(held),
            until=held.expires_at,
            plan_id=held.plan_id,
            plan_version=held.plan_version,
        )
    plan = await get_plan(tx, moment)
    said = "the workspace has no plan" if plan is None else f"the plan {plan.plan_id} does not include {feature_key}"
    return FeatureAnswer(
        feature_key=feature_key,
        allowed=False,
        is_known=False,
        entitlement_status="disabled",
        reason=said,
        until=None if plan is None else plan.expires_at,
        plan_id=None if plan is None else plan.plan_id,
        plan_version=None if plan is None else plan.plan_version,
    )


async def assign_plan(
    tx: Transaction,
    plan_id: str,
    *,
    status: EntitlementStatus = "enabled",
    effective_at: datetime | None = None,
    expires_at: datetime | None = None,
    source: str = "operator",
    reason: str | None = None,
    now: datetime | None = None,
) -> UUID:
    """The plan's newest version from `effective_at` on, or from now. Answers the assignment.

    Raises `Forbidden` for anybody but the system, `NotFound` for a plan that is not there or is retired, and
    `InvalidInput` for one that would expire before it begins.
    """
    ASSIGN_PLANS.check(tx.context)
    with translated():
        assignment: UUID = await _queries.assign_plan(
            tx.connection,
            plan_id=plan_id,
            status=status,
            effective_at=effective_at,
            expires_at=expires_at,
            source=source,
            reason=reason,
            now=now,
        )
    return assignment


async def cancel_plan(tx: Transaction, assignment_id: UUID, reason: str, now: datetime | None = None) -> bool:
    """Take back an assignment that is to begin later. Answers whether it still was. Raises `NotFound`."""
    ASSIGN_PLANS.check(tx.context)
    with translated():
        canceled: bool = await _queries.cancel_plan(tx.connection, assignment_id=assignment_id, reason=reason, now=now)
    return canceled


async def override_feature(
    tx: Transaction,
    feature_key: str,
    status: EntitlementStatus,
    reason: str,
    *,
    effective_at: datetime | None = None,
    expires_at: datetime | None = None,
    source: str = "operator",
    now: datetime | None = None,
) -> UUID:
    """A feature with this status, whatever the plan says. Answers the override."""
    return await _override(tx, "feature", feature_key, reason, status, None, effective_at, expires_at, source, now)


async def override_quota(
    tx: Transaction,
    quota_key: str,
    limit: int | None,
    reason: str,
    *,
    effective_at: datetime | None = None,
    expires_at: datetime | None = None,
    source: str = "operator",
    now: datetime | None = None,
) -> UUID:
    """A quota of the plan with another limit, None for none. Answers the override."""
    return await _override(tx, "quota", quota_key, reason, None, limit, effective_at, expires_at, source, now)


async def begin_recovery(
    tx: Transaction,
    quota_key: str,
    until: datetime,
    reason: str,
    *,
    source: str = "operator",
    now: datetime | None = None,
) -> UUID:
    """Refuse nothing for this quota until a moment, seven days away at most; uses are counted as ever. Answers the
    override."""
    return await _override(tx, "recovery", quota_key, reason, None, None, None, until, source, now)


async def end_override(tx: Transaction, override_id: UUID, reason: str, now: datetime | None = None) -> bool:
    """End an override or recovery, or take it back before it begins. Answers whether it held or was to. Raises
    `NotFound`."""
    OVERRIDE_ENTITLEMENTS.check(tx.context)
    with translated():
        ended: bool = await _queries.end_override(tx.connection, override_id=override_id, reason=reason, now=now)
    return ended


async def _override(
    tx: Transaction,
    kind: str,
    key: str,
    reason: str,
    status: str | None,
    limit: int | None,
    effective_at: datetime | None,
    expires_at: datetime | None,
    source: str,
    now: datetime | None,
) -> UUID:
    OVERRIDE_ENTITLEMENTS.check(tx.context)
    with translated():
        override: UUID = await _queries.override(
            tx.connection,
            kind=kind,
            key=key,
            reason=reason,
            status=status,
            limit_units=limit,
            effective_at=effective_at,
            expires_at=expires_at,
            source=source,
            now=now,
        )
    return override


def _why(held: Entitlement) -> str:
    by = (
        f"the plan {held.plan_id}"
        if held.override_id is None
        else f"an agreement beside the plan ({held.override_source})"
    )
    said = {"enabled": "includes it", "grace": "includes it for a time of grace", "disabled": "does not allow it now"}
    return f"{by} {said[held.entitlement_status]}"
