"""The life of a workspace's demo access: what sources told of it, what that comes to, and how it came to be.

Intent: the access of a workspace is a fold of the signals that were told about it, in one order, whatever order and
however often they came; nothing else writes it.
Rollback: drops the tables with their rows; the plans that were assigned stay as they are, and admins stop any job.
Consumers: operators, the handlers and the action of signed signals, and the sweep write by the verbs; the API and the
CLI read. The verbs that end, bring back and pause jobs leave those of access to the operator.
Risk: low. The tables are new, and the verbs keep their arguments, so the last release goes on calling them.
Stories: F7-E1.
"""

from datalane.db.migrate import run_sql

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")
    run_sql(__file__, "verbs")
    run_sql(__file__, "folding")
    run_sql(__file__, "settling")


def downgrade() -> None:
    run_sql(__file__, "down")
