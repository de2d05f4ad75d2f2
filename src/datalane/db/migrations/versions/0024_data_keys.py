"""The keys that seal a workspace's secrets, wrapped by the lane's master key.

Intent: credentials of connectors and signing secrets are stored sealed, and a new master key touches none of them.
Rollback: drops the table. What was sealed under its keys cannot be opened any more: remove that first.
Consumers: whatever stores a secret (`datalane.engine.vault`); nothing that was there changes.
Risk: low. It adds one table. Without `DATALANE_MASTER_KEY` no secret is kept.
Stories: F6-E1.
"""

from datalane.db.migrate import run_sql

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
