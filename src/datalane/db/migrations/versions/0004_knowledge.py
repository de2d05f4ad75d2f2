"""Search postings and knowledge: documents, versions, chunks, vectors, responses and citations.

Intent: what retrieval reads and what makes an answer checkable.
Rollback: drops the tables with their rows; the originals stay in the file store.
Consumers: ingestion, retrieval, citations.
Risk: none, the tables are new.
Stories: F5-E1, F5-E2, F5-E3.
"""

from datalane.db.migrate import run_sql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
