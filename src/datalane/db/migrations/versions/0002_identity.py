"""Identity: users, sessions, workspaces, memberships, API keys, and the answers kept for idempotency keys.

Intent: who may act where, and the verbs that find it out before a context exists.
Rollback: drops the tables with their rows; only an empty lane can go down this far.
Consumers: authentication of the API, the demo, every membership and API key route.
Risk: none, the tables are new.
Stories: F2-E1, F2-E2.
"""

from datalane.db.migrate import run_sql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
