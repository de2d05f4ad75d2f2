"""Documents by their source.

Intent: a connector pushes what a source holds now, and each source is one document, also for two pushes at once.
Rollback: drops the table; the documents stay, and a later push of their sources makes further ones.
Consumers: `POST /documents/push`, `fetch` and `withdraw`.
Risk: low. It adds one table.
Stories: F5-E1.
"""

from datalane.db.migrate import run_sql

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
