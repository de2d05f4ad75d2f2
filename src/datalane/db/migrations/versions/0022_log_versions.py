"""The log of retrievals says what else decided an answer.

Intent: a miss can be told apart by language, weight, calibration and release, and an empty answer by its model.
Rollback: drops the four columns with what they hold; the verb is as it was.
Consumers: the API writes and lists them.
Risk: low. The columns may be null, and the verb is dropped and made anew in one transaction, with arguments that have
defaults: the last release goes on calling it.
Stories: F5-E3.
"""

from datalane.db.migrate import run_sql

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
