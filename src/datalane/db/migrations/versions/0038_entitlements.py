"""Plans, entitlements and the rank of the operator.

Intent: what a workspace may do, and how much of it, is said by a plan of the vendor that holds from one moment to
another, and by what was agreed beside it; who sells says so, not who buys.
Rollback: drops plans, assignments and overrides with their rows, and the rank of the operator.
Consumers: the service and the library ask what a workspace may do; usage takes its limits from here.
Risk: low. The tables are new, and no verb of before asks for the new rank.
Stories: F7-E1, F7-E2.
"""

from datalane.db.migrate import run_sql

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")
    run_sql(__file__, "verbs")


def downgrade() -> None:
    run_sql(__file__, "down")
