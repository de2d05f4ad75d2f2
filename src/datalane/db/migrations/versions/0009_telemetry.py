"""Telemetry: a job carries the trace it belongs to, and jobs can be counted.

Intent: a trace that begins with a request goes on in the jobs it caused; the lane tells how long its queues are.
Rollback: drops the column and the verb; jobs under way lose their trace, nothing else.
Consumers: workers claim the new column, the maintenance process counts; publishing checks large payloads only.
Risk: low. The claim verbs are dropped and made anew in one transaction, with one more column at the end; the last
release names its columns and goes on.
Stories: F1-E3-S1, F1-E3-S2.
"""

from datalane.db.migrate import run_sql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")
    run_sql(__file__, "verbs")


def downgrade() -> None:
    run_sql(__file__, "down")
