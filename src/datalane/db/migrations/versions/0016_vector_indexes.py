"""Indexes of the vectors of large workspaces, one for each model that they search by.

Intent: above some thousand chunks a search by meaning takes longer with every document; an index over the workspace's
own vectors answers in milliseconds, and one over everybody's would lose what a tenant filter throws away.
Rollback: drops the indexes, the table and the functions; searches are exact again, and slower in large workspaces.
Consumers: the maintenance process builds, measures and drops indexes; search reads which are ready.
Risk: low. No index is built by the revision. The definer role may read sizes, models and vectors from here on.
Stories: F5-E2.
"""

from datalane.db.migrate import run_sql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
