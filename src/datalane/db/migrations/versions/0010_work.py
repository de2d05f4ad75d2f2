"""Core work: projects and items, their fields, timeline and saved views; a policy class for what admins manage.

Intent: the everyday data path of a product, quick at a million items in a workspace and safe when two people edit.
Rollback: drops the tables, with what is in them, and gives `app.protect` the classes it had.
Consumers: the API serves the new tables; nothing that was there changes.
Risk: low. It adds tables and one branch of a function that only migrations call.
Stories: F3-E1, F3-E2, F3-E3.
"""

from datalane.db.migrate import run_sql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
