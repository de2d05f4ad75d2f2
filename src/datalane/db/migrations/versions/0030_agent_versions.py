"""What agents run with: versions of prompts, of models and of output schemas, and what the models cost.

Intent: a run names the prompt, the model and the output schema that it ran with, and its cost is fixed by a price that
was in force then.
Rollback: drops the tables with their rows, and the functions that reckon costs.
Consumers: the API; whatever records runs refers to the versions and calls the two functions.
Risk: none, the tables are new.
Stories: F4-E1.
"""

from datalane.db.migrate import run_sql

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
