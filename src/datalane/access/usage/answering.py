"""One call that answers: may this workspace do X now, why, until when."""

from __future__ import annotations

from datetime import datetime

from datalane.access.entitlements.schemas import FeatureAnswer
from datalane.access.entitlements.service import check_feature
from datalane.access.usage.schemas import Answer, Counter
from datalane.access.usage.service import get_counter, refusal_of
from datalane.db.transaction import Transaction
from datalane.kit.clock import utc_now


async def may(tx: Transaction, key: str, units: int = 1, at: datetime | None = None) -> Answer:
    """Whether the workspace may now: `key` names a feature, a quota of which `units` are wanted, or both, which then
    must both allow it. What nothing names is not allowed. Nothing is used by asking."""
    moment = at or utc_now()
    feature, counter = await check_feature(tx, key, moment), await get_counter(tx, key, moment)
    if counter is None:
        return _of_feature(feature)
    of_quota = _of_quota(counter, units)
    if not feature.is_known:  # a quota alone
        return of_quota
    allowed = feature.allowed and of_quota.allowed
    return of_quota.but(
        allowed=allowed,
        reason=feature.reason if not feature.allowed or allowed else of_quota.reason,
        entitlement_status=feature.entitlement_status,
        until=min((each for each in (feature.until, of_quota.until) if each), default=None),
    )


def _of_feature(feature: FeatureAnswer) -> Answer:
    return Answer(
        key=feature.feature_key,
        allowed=feature.allowed,
        reason=feature.reason,
        until=feature.until,
        plan_id=feature.plan_id,
        entitlement_status=feature.entitlement_status,
    )


def _of_quota(counter: Counter, units: int) -> Answer:
    remaining = counter.remaining_units
    allowed = remaining is None or units <= remaining
    if counter.recovering:
        reason = "nothing is refused for a time of recovery"
    elif remaining is None:
        reason = f"the plan {counter.plan_id} sets no limit"
    else:
        reason = f"{remaining:,} of {counter.limit_units:,} units are left" if allowed else refusal_of(counter, units)
    return Answer(
        key=counter.quota_key,
        allowed=allowed,
        reason=reason,
        until=counter.period_end,
        plan_id=counter.plan_id,
        limit_units=counter.limit_units,
        remaining_units=remaining,
    )
