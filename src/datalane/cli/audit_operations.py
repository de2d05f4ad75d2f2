"""What `datalane audit` does: find the workspaces as the operator, read each through its door as the lane itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from datalane.cli.office import Office
from datalane.contracts.context import Context
from datalane.db.named_queries import load_queries
from datalane.engine import audit, audit_verify
from datalane.engine.audit import AuditRecord
from datalane.engine.audit_verify import Head, Verified
from datalane.errors import InvalidInput

_queries = load_queries(audit.__file__, "audit.sql")


class AuditOffice(Office):
    name = "datalane audit"

    async def list_records(self, workspace_id: UUID, wanted: Mapping[str, Any], limit: int) -> list[AuditRecord]:
        async with self.database() as database, database.transaction(Context.system(workspace_id)) as tx:
            return await audit.list_records(tx, **wanted, most=limit)

    async def heads(self, workspace_id: UUID | None) -> list[Head]:
        """The newest seal of one workspace or of each."""
        if workspace_id is None:
            async with self.operator() as connection:
                return [Head.of(row) for row in await _queries.list_heads(connection)]
        async with self.database() as database, database.transaction(Context.system(workspace_id)) as tx:
            head = await audit_verify.get_head(tx)
            return [] if head is None else [head]

    async def verify(self, workspace_id: UUID | None, kept: Mapping[UUID, Head]) -> AsyncIterator[Verified]:
        """Check one workspace, or every one that has a row, a seal or a kept head."""
        if workspace_id is None:
            async with self.operator() as connection:
                known = {row["workspace_id"] for row in await _queries.list_workspaces(connection)}
            homes = sorted(known | kept.keys())
        else:
            homes = [workspace_id]
        async with self.database() as database:
            for home in homes:
                async with database.transaction(Context.system(home)) as tx:
                    verified = await audit_verify.verify(tx, kept.get(home))
                yield verified


def read_heads(file: Path) -> dict[UUID, Head]:
    """The heads that `datalane audit head --json` printed. Raises `InvalidInput`."""
    try:
        heads = [
            Head(
                UUID(head["workspace_id"]),
                int(head["seal_no"]),
                int(head["rows"]),
                str(head["seal_hash"]),
                datetime.fromisoformat(head["sealed_at"]),
            )
            for head in orjson.loads(file.read_bytes())["heads"]
        ]
    except OSError as error:
        raise InvalidInput(f"cannot read {file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidInput(f"{file} does not hold what `datalane audit head --json` prints") from None
    return {head.workspace_id: head for head in heads}
