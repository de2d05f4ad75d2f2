"""${message}

Intent: what changes and why.
Rollback: what the down script restores, and what is lost.
Consumers: who reads or writes what changes.
Risk: locks taken, rows touched.
Stories: F1-E2-S1, separated by commas.
"""

from datalane.db.migrate import run_sql

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
