"""What was refused or came twice is found in the log of events without reading what was accepted.

Intent: `GET /automation/events/ingestion` narrowed to a status costs what it finds, however long the log is.
Rollback: drops the index.
Consumers: that list.
Risk: low. Accepted events, which are nearly all, are not in the index. It is built under a lock on the months that are
there: where they hold many millions, migrate when publishing may wait for it.
Stories: F6-E2.
"""

from datalane.db.migrate import run_sql

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
