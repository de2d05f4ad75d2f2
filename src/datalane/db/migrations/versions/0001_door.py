"""The tenant door: schemas, context functions and policy classes.

Intent: the functions every policy calls, and `app.protect`, which gives a table its policy class.
Rollback: drops what it made; only an empty lane can go down this far.
Consumers: every later revision and every connection of the lane.
Risk: none, the database is new.
Stories: F2-E3.
"""

from datalane.db.migrate import run_sql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
