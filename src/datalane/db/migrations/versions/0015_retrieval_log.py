"""The log of retrievals: what was asked, how long it took, what was found.

Intent: misses and slow queries are seen, by method and model; what nobody could answer becomes a dataset to judge.
Rollback: drops the table and its verb, with the log.
Consumers: the API writes and lists it; the maintenance process makes and drops its months.
Risk: low. It adds one table and one function; a query through the API writes a row without waiting for the disk.
Stories: F5-E3.
"""

from datalane.db.migrate import run_sql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
