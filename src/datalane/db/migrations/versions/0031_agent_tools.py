"""Tools of agents: what they take, who may call them, and the rules of a workspace about their calls.

Intent: an agent calls only what an admin published, with arguments that fit, and each decision about a call names the
version of the rule that made it.
Rollback: drops the four tables with tools, rules and all their versions.
Consumers: the routes of tools and of their rules; no event changes.
Risk: none, the tables are new.
Stories: F4-E2.
"""

from datalane.db.migrate import run_sql

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
