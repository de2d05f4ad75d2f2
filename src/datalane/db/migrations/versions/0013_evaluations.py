"""Evaluations: what a run of judged queries measured, query by query.

Intent: a change of model, weight or chunk size is compared with what was before on the same judged queries.
Rollback: drops the two tables, with the runs in them.
Consumers: the API and `datalane eval` write and read them; nothing that was there changes.
Risk: low. It adds two tables.
Stories: F5-E3.
"""

from datalane.db.migrate import run_sql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
