"""Audit seals: the audit log of each workspace as a chain of hashes.

Intent: a changed, removed or inserted audit row can be found.
Rollback: drops the seals; the log stays, and sealing begins anew.
Consumers: the maintenance process seals, `datalane audit verify` and `head` read.
Risk: none, the table is new. The verbs that fill it are part of the engine's release.
Stories: F2-E2, F2-E3.
"""

from datalane.db.migrate import run_sql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
