"""Complete one job: the verb for a transaction that holds one job only.

Intent: work that is spread thinly over many workspaces costs less.
Rollback: drops the verb; the last release does not know it.
Consumers: workers of this release complete single jobs with it.
Risk: low. It adds one function and changes none.
Stories: F1-E3-S2.
"""

from datalane.db.migrate import run_sql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "verbs")


def downgrade() -> None:
    run_sql(__file__, "down")
