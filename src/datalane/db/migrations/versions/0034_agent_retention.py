"""Retention of what agents were given and answered, and of their runs.

Intent: inputs, outputs, arguments and results go after their time, while usage, costs and decisions stay; runs go after
theirs, and effects of tools by their own age.
Rollback: drops the verbs, the column and the indexes. What was forgotten stays forgotten.
Consumers: the maintenance process forgets; a run that is read says whether its contents are gone.
Risk: low. It adds a column with a constant default, two indexes of tables that no release has, and verbs.
Stories: F4-E2.
"""

from datalane.db.migrate import run_sql

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
