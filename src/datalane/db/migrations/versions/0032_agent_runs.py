"""The ledger of agents: threads, runs, steps, tool calls, and every change of their states.

Intent: each run of an agent, each step, each call of a tool and each cost has a row that nobody can change by hand,
under a lease that a dead runtime loses.
Rollback: drops the tables with their rows; answers that name a run keep its id.
Consumers: the API, the CLI and the library record and read runs; the maintenance process sweeps those that were left.
Risk: low. The tables are new.
Stories: F4-E2.
"""

from datalane.db.migrate import run_sql

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")
    run_sql(__file__, "ledger")


def downgrade() -> None:
    run_sql(__file__, "down")
