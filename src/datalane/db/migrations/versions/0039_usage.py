"""Usage: what workspaces use of their quotas, counted exactly.

Intent: a limit holds under any concurrency, what was counted can be told use by use and corrected, and a counter is the
sum of its ledger at all times.
Rollback: drops counters, ledger and reservations with their rows; steps of agents are not counted against quotas then.
Consumers: the API, the library and raw SQL use quotas; recording steps counts tokens; maintenance closes periods.
Risk: low. The tables are new. The verb that writes steps of agents is replaced by one that counts them besides.
Stories: F7-E2.
"""

from datalane.db.migrate import run_sql

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")
    run_sql(__file__, "counting")
    run_sql(__file__, "operating")


def downgrade() -> None:
    run_sql(__file__, "down")
