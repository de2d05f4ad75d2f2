"""Spans of OpenTelemetry become runs of agents.

Intent: agents that a framework traces have a ledger too, which comes out the same in whatever order, batches and
repetitions their spans arrive.
Rollback: drops what is known of spans; the runs that they told stay, and end by the sweep.
Consumers: the receiver of spans, the sweep of the ledger, the forgetting of traces.
Risk: low. The tables are new; two functions of the ledger know runs that no runtime holds.
Stories: F4-E2.
"""

from datalane.db.migrate import run_sql

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")
    run_sql(__file__, "taking")


def downgrade() -> None:
    run_sql(__file__, "down")
