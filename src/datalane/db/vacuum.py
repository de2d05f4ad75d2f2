"""Vacuuming what was loaded at once: counts read an index alone only where the visibility map is fresh."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from datalane.db.faults import stepping, translated
from datalane.db.reaching import CONNECT_SECONDS, MAINTENANCE_URL, reaching
from datalane.db.roles import Roles


async def vacuum_tables(url: str, roles: Roles, tables: Sequence[str]) -> None:
    """VACUUM (ANALYZE) tables of the schema `datalane`, as their owner; `url` is the maintenance login's."""
    with reaching(url, MAINTENANCE_URL):
        connection = await asyncpg.connect(
            url, timeout=CONNECT_SECONDS, server_settings={"application_name": "datalane vacuum"}
        )
    try:
        with stepping():
            await connection.execute(f"SET ROLE {roles.owner}")
        with translated():
            await connection.execute("SET maintenance_work_mem = '256MB'")
            for table in tables:
                await connection.execute(f"VACUUM (ANALYZE) datalane.{table}")
    finally:
        await connection.close()
