"""Membership: invites, the life of a membership, the transfer of ownership.

Intent: people join by an invite that is bound to their address and used once; every later change is a step of one
lifecycle; a workspace changes its owner in one transaction.
Rollback: drops the invites with their rows, open ones too, and the verbs that change memberships; memberships stay.
Consumers: the routes under /workspaces, accepting an invite before a context exists.
Risk: none, the table is new.
Stories: F2-E2.
"""

from datalane.db.migrate import run_sql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
