"""Confidence learned from judged results, and citations that moderation suppressed.

Intent: a confidence is the share of such results that were relevant, and says from which run that was learned; what is
not to be shown says by which outcome.
Rollback: drops both tables and the column, with what was learned and decided; suppressed citations show their quotes
again.
Consumers: `datalane eval retrieval --calibrate` learns, retrieval tells; citations and traces show both.
Risk: low. It adds two tables, a column without a rewrite, and to `app.protect` a class for what admins decide.
Stories: F5-E3.
"""

from datalane.db.migrate import run_sql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
