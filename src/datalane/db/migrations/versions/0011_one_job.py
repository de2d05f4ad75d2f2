"""One job: verbs for a transaction that completes or enqueues one job only.

Intent: work that is spread thinly over many workspaces costs less, and a single job reaches its worker sooner.
Rollback: drops the verbs; the last release does not know them.
Consumers: workers of this release complete single jobs with one, callers enqueue them with the other.
Risk: low. It adds two functions and changes none.
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
