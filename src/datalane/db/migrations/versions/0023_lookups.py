"""Refused events, and feedback on a chunk, are found without reading all of the others.

Intent: `GET /automation/events/ingestion` narrowed to a status costs what it finds, however long the log is, and so
does the trace of feedback on a chunk.
Rollback: drops the two indexes.
Consumers: that list, and `GET /retrieval/trace/{traced_id}`.
Risk: low. Accepted events, which are nearly all, are not in the index of the log. Both are built under a lock: where
the log or the feedback holds many millions, migrate when writing to them may wait for it.
Stories: F6-E2, F5-E3.
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
