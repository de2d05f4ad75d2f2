"""The engine: events, jobs, schedules, audit, and the verbs over them.

Intent: the tables of the event log and the job queue, and the first release of the SQL verbs.
Rollback: drops them with their rows.
Consumers: every domain publishes and enqueues through the verbs; workers claim through them.
Risk: none, the tables are new.
Stories: F1-E1-S2, F5-E1, F6-E2.
"""

from datalane.db.migrate import run_sql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")
    run_sql(__file__, "verbs")


def downgrade() -> None:
    run_sql(__file__, "down")
