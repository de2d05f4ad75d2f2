"""Plans and entitlements as callers see them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field

EntitlementStatus = Literal["enabled", "disabled", "grace"]


class HeldPlan(BaseModel):
    """The plan that is enforced: until `expires_at`, or until another one takes its place. `source` says who gave it;
    `default` is the lane's own, for who was given none."""

    plan_id: str
    plan_version: int
    status: EntitlementStatus
    effective_at: datetime
    expires_at: datetime | None
    source: str


class Entitlement(BaseModel):
    """A feature that the plan or an override names. `override_source` says who agreed on it beside the plan."""

    feature_key: str
    entitlement_status: EntitlementStatus
    plan_id: str | None
    plan_version: int | None
    effective_at: datetime
    expires_at: datetime | None
    override_id: UUID | None = None
    override_source: str | None = None
    updated_by_actor_id: UUID | None = None


class EntitlementList(BaseModel):
    """`version` counts the changes of what the workspace may."""

    workspace_id: UUID
    plan: HeldPlan | None
    version: int
    data: list[Entitlement]


class FeatureAnswer(BaseModel):
    """Whether the workspace may use a feature now, why or why not, and until when that holds as far as is known."""

    feature_key: str
    allowed: bool
    is_known: bool = Field(default=True, exclude=True)
    """Whether the plan or an override names it."""
    entitlement_status: EntitlementStatus
    reason: str
    until: datetime | None
    plan_id: str | None
    plan_version: int | None


class Assignment(BaseModel):
    assignment_id: UUID


class Override(BaseModel):
    override_id: UUID
