"""Evaluations of agents: datasets of cases, and what an agent's answers to them were worth.

Intent: a version of an agent is judged on the same cases as the one before, and no score is told of too few of them.
Rollback: drops the tables with their rows. Runs of agents stay.
Consumers: the library and the API record evaluations and compare them; the rollback report tells those that a version
touched.
Risk: none, the tables are new.
Stories: F4-E3.
"""

from datalane.db.migrate import run_sql

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
