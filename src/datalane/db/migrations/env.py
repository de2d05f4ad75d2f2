"""Alembic's entry: connect as the maintenance role and act as the owner."""

from __future__ import annotations

from alembic import context
from sqlalchemy import text

from datalane.db.migrate import LOCK_TIMEOUT, VERSION_SCHEMA, VERSION_TABLE, sqlalchemy_connection
from datalane.db.roles import Roles

config = context.config
roles: Roles = config.attributes["roles"]

with sqlalchemy_connection(config.attributes["url"]) as connection:
    # Two migrations of one database take turns; the second then finds nothing to do.
    connection.execute(text("SELECT pg_advisory_lock(hashtextextended('datalane migration', 0))"))
    connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.execute(text(f'SET ROLE "{roles.owner}"'))
    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {VERSION_SCHEMA}"))
    connection.commit()
    context.configure(
        connection=connection,
        version_table=VERSION_TABLE,
        version_table_schema=VERSION_SCHEMA,
        transaction_per_migration=True,
        roles=roles,
    )
    with context.begin_transaction():
        context.run_migrations()
