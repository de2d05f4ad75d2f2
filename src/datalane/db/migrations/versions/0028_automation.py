"""Automation: rules with their versions, the switch of a workspace, and what became of each run.

Intent: an event starts what a rule says, once for each version of a rule, and everybody sees what became of it.
Rollback: drops the tables with rules and runs. Subscriptions of the kind `automation.run` and its jobs stay: remove the
subscriptions first, else their jobs wait for a worker that knows the kind.
Consumers: the API and workers of integrations. Members write no subscriptions and schedules of jobs that only admins
may cause; other rows are theirs as before.
Risk: low. It adds four tables, and policies on two small ones. Runs are kept by month, as events are.
Stories: F6-E2.
"""

from datalane.db.migrate import run_sql

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
