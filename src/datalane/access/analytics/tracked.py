"""The tracking plan of the application: which events it tells of in every workspace, each version with its JSON Schema.

What a workspace tracks besides stands in its own plan. A version never changes: clients in the field go on sending it.
It is retired when they are to stop.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from datalane.contracts.conformance import check_schema
from datalane.db.database import Database
from datalane.db.faults import translated
from datalane.errors import ConfigurationError, DatalaneError, InvalidInput
from datalane.kit.logs import get_logger

EVENT_NAME = r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$"
MOST_NAME_CHARACTERS = 200
MOST_REASON_CHARACTERS = 500
MOST_VERSIONS = 50
"""Of one event, with those that are retired."""
_NAME = re.compile(EVENT_NAME)

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TrackedEvent:
    name: str
    version: int
    schema: Mapping[str, Any]
    owner: str
    description: str = ""


@dataclass
class TrackedEvents:
    """The events that one lane tracks. Adding the same one twice is harmless."""

    _events: dict[tuple[str, int], TrackedEvent] = field(default_factory=dict)

    def add(self, tracked: TrackedEvent) -> TrackedEvent:
        """Raises `ConfigurationError` for a malformed name, version, owner or schema, and for another schema under a
        version that is known."""
        name, version = tracked.name, tracked.version
        if not _NAME.fullmatch(name) or len(name) > MOST_NAME_CHARACTERS or version < 1 or not tracked.owner.strip():
            raise ConfigurationError(
                f"tracked event {name!r} version {version}: write it as noun.verb, versions from 1, with an owner"
            )
        known = self._events.get((name, version))
        if known is not None and known.schema != tracked.schema:
            raise ConfigurationError(
                f"the tracked event {name} version {version} has another schema already; raise its version"
            )
        try:
            check_schema(tracked.schema, f"the schema of {name}")
        except DatalaneError as error:
            raise ConfigurationError(f"tracked event {name} version {version}: {error}") from error
        self._events[name, version] = tracked
        return tracked

    def __iter__(self) -> Iterator[TrackedEvent]:
        return iter(self._events.values())

    def __len__(self) -> int:
        return len(self._events)


async def register_tracked_events(database: Database, tracked: TrackedEvents) -> None:
    """Make them known to the database. Repeating it changes nothing.

    A database that is not migrated yet is left alone, with a line in the log. Raises `Conflict` for another schema
    under a version that the database knows, `LimitExceeded` for more than `MOST_VERSIONS` of an event.
    """
    if not len(tracked):
        return
    connection = await database.direct_connection(database.roles.worker)
    try:
        with translated():
            async with connection.transaction():
                for event in sorted(tracked, key=lambda event: (event.name, event.version)):
                    await connection.execute(
                        "SELECT datalane.register_tracked_event($1, $2, $3, $4, $5)",
                        *(event.name, event.version, dict(event.schema), event.owner, event.description),
                    )
    except (asyncpg.UndefinedFunctionError, asyncpg.InvalidSchemaNameError) as error:
        log.warning("tracked_events_not_registered_schema_is_missing", error=str(error))
    finally:
        await connection.close()


async def retire_tracked_event(database: Database, name: str, version: int, reason: str) -> bool:
    """Events of this version are held back from now on, in every workspace; it is not tracked again. Answers whether it
    was until now.

    Raises `NotFound` for a version that the application does not track, `InvalidInput` for a reason that is empty or
    over 500 characters.
    """
    if not 1 <= len(reason.strip()) <= MOST_REASON_CHARACTERS:
        raise InvalidInput(f"a reason has 1 to {MOST_REASON_CHARACTERS} characters")
    connection = await database.direct_connection(database.roles.worker)
    try:
        with translated():
            retired: bool = await connection.fetchval(
                "SELECT datalane.retire_tracked_event($1, $2, $3)", name, version, reason.strip()
            )
            return retired
    finally:
        await connection.close()
