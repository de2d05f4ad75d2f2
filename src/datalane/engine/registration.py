"""Making code known to the database: role matrix, event types, handlers, job kinds. Repeating it changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import asyncpg

from datalane.contracts.authorization import MATRIX
from datalane.contracts.context import Role
from datalane.contracts.registry import EventType
from datalane.db.database import Database
from datalane.db.faults import translated
from datalane.engine.handlers import EventHandler
from datalane.kit.logs import get_logger

log = get_logger(__name__)


async def register(
    database: Database,
    kinds: Mapping[str, int | None],
    events: Sequence[EventHandler],
    types: Sequence[EventType],
) -> None:
    """Register the role matrix, `kinds` with their bound of running jobs, handlers of events, and event types.

    A database that is not migrated yet is left alone, with a line in the log: readiness reports it.
    """
    connection = await database.direct_connection(database.roles.worker)
    try:
        with translated():
            async with connection.transaction():
                await _register(connection, kinds, events, types)
    except (asyncpg.UndefinedFunctionError, asyncpg.InvalidSchemaNameError) as error:
        log.warning("not_registered_schema_is_missing", error=str(error))
    finally:
        await connection.close()


async def _register(
    connection: asyncpg.Connection,
    kinds: Mapping[str, int | None],
    events: Sequence[EventHandler],
    types: Sequence[EventType],
) -> None:
    """In sorted order, so that processes that start together take the rows' locks in one order."""
    lines = [line for line in MATRIX if line.least is not Role.SYSTEM]  # what is the operator's no member has
    await connection.execute(
        "SELECT datalane.register_permissions($1, $2, $3)",
        *([line.resource for line in lines], [line.action for line in lines], [line.least.value for line in lines]),
    )
    for event_type in sorted(types, key=lambda known: (known.name, known.version)):
        await connection.execute(
            "SELECT datalane.register_event_type($1, $2, $3)",
            *(event_type.name, event_type.version, dict(event_type.schema)),
        )
    for kind, bound in sorted(kinds.items()):
        await connection.execute("SELECT datalane.register_job_kind($1, $2)", kind, bound)
    for handler in sorted(events, key=lambda known: (known.event_type, known.kind)):
        await connection.execute(
            "SELECT datalane.register_event_handler($1, $2, $3)",
            *(handler.event_type, handler.kind, handler.ordered),
        )
