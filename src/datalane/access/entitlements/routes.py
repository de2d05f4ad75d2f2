"""Routes of entitlements."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from datalane.access.entitlements import service
from datalane.access.entitlements.schemas import EntitlementList, FeatureAnswer
from datalane.access.permissions import READ_ENTITLEMENTS
from datalane.contracts.http import Door
from datalane.db.transaction import Transaction

FeatureKey = Annotated[str, Query(pattern=r"^[a-z][a-z0-9_.-]{0,63}$")]


def add_entitlement_routes(routes: APIRouter, door: Door) -> None:
    @routes.get("/entitlements/list")
    async def list_entitlements(tx: Transaction = door.reader(READ_ENTITLEMENTS)) -> EntitlementList:
        """The plan of the workspace, and the features that it or an agreement beside it names."""
        return await service.list_entitlements(tx)

    @routes.get("/entitlements/check")
    async def check_feature(feature_key: FeatureKey, tx: Transaction = door.reader(READ_ENTITLEMENTS)) -> FeatureAnswer:
        """Whether the workspace may use a feature now, why or why not, and until when."""
        return await service.check_feature(tx, feature_key)
