"""Inbound webhooks: what connected systems send, taken once, and only with a good signature.

Intent: a provider's webhook becomes an event of the workspace; a bad signature leaves a line in the log alone.
Rollback: drops the three tables, with what is held undecided, and gives the verb back what it refused. Events stay.
Consumers: the inbound routes; datalane.record_rejection takes one more status.
Risk: low. It adds three tables, and one verb accepts what it refused.
Stories: F6-E2-S1, F6-E3-S2.
"""

from datalane.db.migrate import run_sql

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")
    run_sql(__file__, "verbs")


def downgrade() -> None:
    run_sql(__file__, "down")
