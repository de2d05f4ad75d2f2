"""What `datalane analytics` does as the lane itself, in the workspace that is named or in all of them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from uuid import UUID

from datalane.access.analytics.anomalies import list_anomalies, resolve_anomaly
from datalane.access.analytics.exporting import Progress, export_events, require_parquet
from datalane.access.analytics.schemas import AnomalyStatus, IntegrityAnomaly
from datalane.access.analytics.tracked import retire_tracked_event
from datalane.cli.office import Office
from datalane.contracts.context import Context
from datalane.errors import InvalidInput

_PAGE = 100
_LONGEST_NAME, _LONGEST_REASON = 100, 500


class AnalyticsOffice(Office):
    name = "datalane analytics"

    async def export(
        self, workspace_id: UUID, out: Path, since: datetime | None, until: datetime | None, progress: Progress
    ) -> int:
        """Raises as `export_events`."""
        require_parquet()
        async with (
            self.database() as database,
            database.transaction(Context.system(workspace_id)) as tx,
        ):
            return await export_events(tx, out, since, until, progress)

    async def anomalies(self, workspace_id: UUID, status: AnomalyStatus | None, limit: int) -> list[IntegrityAnomaly]:
        found: list[IntegrityAnomaly] = []
        async with (
            self.database() as database,
            database.transaction(Context.system(workspace_id)) as tx,
        ):
            cursor = None
            while len(found) < limit:
                page = await list_anomalies(tx, status, None, None, cursor, min(_PAGE, limit - len(found)))
                found += page.data
                cursor = page.next_cursor
                if cursor is None:
                    break
        return found

    async def resolve(self, workspace_id: UUID, anomaly_id: UUID, by: str, reason: str) -> IntegrityAnomaly:
        """Raises `InvalidInput` for a name or a reason that is empty or too long, and as `resolve_anomaly`."""
        for what, text, most in (("--by", by, _LONGEST_NAME), ("--reason", reason, _LONGEST_REASON)):
            if not 1 <= len(text.strip()) <= most:
                raise InvalidInput(f"{what} takes 1 to {most} characters")
        async with (
            self.database() as database,
            database.transaction(Context.system(workspace_id)) as tx,
        ):
            return await resolve_anomaly(tx, anomaly_id, by=by.strip(), reason=reason.strip())

    async def retire(self, event: str, version: int, reason: str) -> bool:
        """Raises as `retire_tracked_event`."""
        async with self.database() as database:
            return await retire_tracked_event(database, event, version, reason)
