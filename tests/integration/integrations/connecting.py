"""Connectors on a bench: registered by an admin, used by the system, and everything that the database holds as text."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from ipaddress import IPv4Network
from typing import Any
from uuid import UUID

import psycopg
from pydantic import SecretStr
from tests.integration.engine.lab import ranked

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.integrations.connectors.dependents import Dependents
from datalane.integrations.connectors.reports import report_health
from datalane.integrations.connectors.schemas import Connector, HealthReport, NewConnector, ReportedHealth
from datalane.integrations.connectors.service import get_connector, register_connector
from datalane.kit.outbound import Outbound

HERE = Outbound((IPv4Network("127.0.0.1/32"),))
SECRET, OTHER_SECRET = "sk-live-5ecret-0f-ada", "sk-live-5ecret-after"


def new_connector(name: str = "Payments", secret: str = SECRET, **said: Any) -> NewConnector:
    return NewConnector(name=name, kind="stripe", credentials={"token": SecretStr(secret)}, **said)


async def connect(
    database: Database, context: Context, name: str = "Payments", *, now: datetime | None = None, **said: Any
) -> Connector:
    async with database.transaction(ranked(context, Role.ADMIN)) as tx:
        return await register_connector(tx, HERE, new_connector(name, **said), now)


async def look(database: Database, context: Context, connector_id: UUID) -> Connector:
    async with database.transaction(context) as tx:
        return await get_connector(tx, connector_id)


async def report(
    database: Database,
    context: Context,
    connector_id: UUID,
    outcome: str,
    observed_at: datetime,
    *,
    now: datetime,
    dependents: Dependents | None = None,
    **said: Any,
) -> ReportedHealth:
    body = {"connector_id": connector_id, "outcome": outcome, "observed_at": observed_at, **said}
    async with database.transaction(ranked(context, Role.ADMIN)) as tx:
        return await report_health(tx, HealthReport.model_validate(body), dependents or Dependents(), now)


async def published(database: Database, context: Context) -> list[tuple[str, dict[str, Any]]]:
    """The events of integrations without the connector's id and kind, in their order."""
    async with database.transaction(context) as tx:
        rows = await tx.fetch(
            "SELECT event_type, payload FROM datalane.events WHERE event_type LIKE 'integration.%' ORDER BY event_id"
        )
    hidden = {"connector_id", "kind"}
    return [
        (row["event_type"], {name: value for name, value in row["payload"].items() if name not in hidden})
        for row in rows
    ]


def everything_stored(superuser_url: str) -> str:
    """Every row of every table of the database as text, whoever it belongs to."""
    with psycopg.connect(superuser_url) as connection:
        tables: Sequence[tuple[str]] = connection.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
            "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        return "\n".join(
            str(row[0])
            for (table,) in tables
            for row in connection.execute(f"SELECT t::text FROM {table} t".encode()).fetchall()
        )
