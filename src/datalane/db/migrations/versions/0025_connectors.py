"""Connectors: connections to other systems, with their sealed credentials, their health and its history.

Intent: a workspace keeps the credentials of another system once, and sees what became of the connection.
Rollback: drops both tables; the sealed credentials in them are lost, and whoever connected does so again.
Consumers: the connector routes and the action connector.call; nothing that was there changes.
Risk: low. It adds two tables.
Stories: F6-E1-S1, F6-E1-S2.
"""

from datalane.db.migrate import run_sql

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
