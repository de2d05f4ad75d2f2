"""What moderation decided about agents: their inputs, outputs, arguments and results, and refusals by models.

Intent: each judgement has a row that nobody can change by hand, written with what it is about or not at all, and what
was refused stands nowhere in the run.
Rollback: drops the table with its rows; suppressed citations stay suppressed, and keep the id as their reference.
Consumers: the recorder, the routes and the assistant write them; the API and the CLI list them.
Risk: low. The table is new; forgetting a run takes its rows with it.
Stories: F4-E3.
"""

from datalane.db.migrate import run_sql

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
