"""Feedback: what people think of answers, citations and chunks.

Intent: a thumbs-down leads to the cited bytes and every version involved, and becomes a judgement of an evaluation.
Rollback: drops the table, with the feedback in it.
Consumers: the API and `datalane trace` write and read it; nothing that was there changes.
Risk: low. It adds one table.
Stories: F5-E3.
"""

from datalane.db.migrate import run_sql

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
