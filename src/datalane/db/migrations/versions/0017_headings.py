"""The headings above a chunk.

Intent: a result and a citation say where in the document they stand, as people say it.
Rollback: drops the column; documents keep their text, and get their headings when they are ingested again.
Consumers: ingestion writes it; retrieval and traces show it.
Risk: low. The column is added without a rewrite. What was indexed before has none until it is ingested again.
Stories: F5-E1.
"""

from datalane.db.migrate import run_sql

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
