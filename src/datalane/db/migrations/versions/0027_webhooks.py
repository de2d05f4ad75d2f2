"""Outbound webhooks: endpoints, their secrets, deliveries and attempts.

Intent: events are delivered to the URLs that a workspace names, signed, tried again, kept while that is not possible,
and each attempt stays in sight.
Rollback: drops the tables with their rows, and publishing is as it was; subscriptions of endpoints stay and their jobs
find no handler.
Consumers: the API and the CLI manage endpoints, workers deliver; the verbs that publish know subscriptions to every
type and lines that several subscriptions share, tell handlers alone of a dead letter at the limit of causation, take
an admin for kinds of jobs that only admins may cause, and publish one event at half the cost of a batch of one.
Risk: low. The tables are new; the column may be null and is added without a rewrite. The verbs keep their arguments, so
the last release goes on calling them.
Stories: F6-E3.
"""

from datalane.db.migrate import run_sql

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")
    run_sql(__file__, "verbs")


def downgrade() -> None:
    run_sql(__file__, "down")
