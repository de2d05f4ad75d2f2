"""The last stored events of each type against the schema that the code registers for them.

Where they are is asked as the operator login, which reads operational columns across workspaces and no payload. The
payloads are read through the tenant door of each workspace, one workspace at a time, as the lane itself. So no role
reads more than it did. Faults name the event and the field, never what the payload holds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

import jsonschema_rs

from datalane.cli.office import Office
from datalane.contracts.context import Context
from datalane.contracts.registry import EventType
from datalane.db.database import Database
from datalane.db.named_queries import load_queries
from datalane.settings import Settings

_AT_ONCE = 500
_queries = load_queries(__file__, "stored_events.sql")


class ContractsOffice(Office):
    name = "datalane contracts"


@dataclass(frozen=True, slots=True)
class StoredFault:
    """A stored event that the registered schema refuses: the first field in the way and the keyword it breaks."""

    event_type: str
    version: int
    event_id: UUID
    workspace_id: UUID
    field: str
    keyword: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class StoredReport:
    """How many events were looked at, of how many workspaces, and which do not validate."""

    events: int = 0
    workspaces: int = 0
    faults: list[StoredFault] = field(default_factory=list)


async def check_stored_events(
    settings: Settings, types: Iterable[EventType], last: int, workspaces: Sequence[UUID] = ()
) -> StoredReport:
    """The newest `last` events of each type and version, over all workspaces or in each of `workspaces`.

    Raises `ConfigurationError` without a database, and without the operator login when no workspace is named.
    """
    known = {(each.name, each.version): each for each in types}
    validators = {key: jsonschema_rs.validator_for(dict(each.schema), mask="…") for key, each in known.items()}
    office, report = ContractsOffice(settings), StoredReport()
    async with office.database() as database:
        places = _named(database, workspaces, known, last) if workspaces else _found(office, known, last)
        async for workspace_id, event_ids in places:
            report.workspaces += 1
            for start in range(0, len(event_ids), _AT_ONCE):
                await _check(database, workspace_id, event_ids[start : start + _AT_ONCE], validators, report)
    report.faults.sort(key=lambda fault: (fault.event_type, fault.version, fault.event_id))
    return report


async def _found(office: Office, known: Iterable[tuple[str, int]], last: int) -> AsyncIterator[tuple[UUID, list[UUID]]]:
    names, versions = _columns(known)
    async with office.operator() as connection:
        rows = await _queries.find_last_events(connection, event_types=names, versions=versions, most=last)
    homes: dict[UUID, list[UUID]] = defaultdict(list)
    for row in rows:
        homes[row["workspace_id"]].append(row["event_id"])
    for workspace_id in sorted(homes):
        yield workspace_id, homes[workspace_id]


async def _named(
    database: Database, workspaces: Sequence[UUID], known: Iterable[tuple[str, int]], last: int
) -> AsyncIterator[tuple[UUID, list[UUID]]]:
    names, versions = _columns(known)
    for workspace_id in workspaces:
        async with database.transaction(Context.system(workspace_id)) as tx:
            rows = await _queries.find_last_events_here(
                tx.connection, workspace_id=workspace_id, event_types=names, versions=versions, most=last
            )
        yield workspace_id, [row["event_id"] for row in rows]


def _columns(known: Iterable[tuple[str, int]]) -> tuple[list[str], list[int]]:
    keys = sorted(known)
    return [name for name, _ in keys], [version for _, version in keys]


async def _check(
    database: Database,
    workspace_id: UUID,
    event_ids: Sequence[UUID],
    validators: dict[tuple[str, int], Any],
    report: StoredReport,
) -> None:
    async with database.transaction(Context.system(workspace_id)) as tx:
        rows = await _queries.get_payloads(tx.connection, workspace_id=workspace_id, event_ids=list(event_ids))
    report.events += len(rows)
    for row in rows:
        key = row["event_type"], row["version"]
        fault = next(iter(validators[key].iter_errors(row["payload"])), None)
        if fault is not None:
            report.faults.append(StoredFault(*key, row["event_id"], workspace_id, _place(fault), _keyword(fault)))


def _place(fault: Any) -> str:
    """The field as the schema names it: names that only the payload holds may be anybody's secrets."""
    path, parts = "$", iter(fault.schema_path)
    for part in parts:
        if part == "properties":
            path += f".{next(parts, '')}"
        elif part == "items":
            path += "[]"
        elif part in ("additionalProperties", "patternProperties"):
            path += ".*"
    missing = getattr(fault.kind, "property", None)
    return f"{path}.{missing}" if isinstance(missing, str) and _keyword(fault) == "required" else path


def _keyword(fault: Any) -> str:
    words = [part for part in fault.schema_path if isinstance(part, str)]
    return words[-1] if words else "false"
