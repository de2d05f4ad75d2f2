"""Budgets of agents: what a workspace allows itself to use in a day or a month, and what its steps have used.

Intent: a run stops before a call of a model once the tokens or the money of its workspace are used up, and what was
used is known exactly without reading every step.
Rollback: drops both tables with the budgets and what was counted; steps keep their tokens and costs.
Consumers: whoever records steps counts them in the same transaction; the service asks before a call.
Risk: low. The tables are new. Steps from before are not counted.
Stories: F4-E2.
"""

from datalane.db.migrate import run_sql

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
