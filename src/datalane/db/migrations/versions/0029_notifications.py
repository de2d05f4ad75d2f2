"""Notifications: what members are told, by which channels, and what became of each message.

Intent: an event that matters reaches the people who want to know of it, in the application, by e-mail or by a webhook,
and each decides for themselves by what.
Rollback: drops the tables with their rows: notifications, the log of deliveries, and everybody's preferences.
Consumers: the routes of notifications and the jobs that send them; `notification.created` is a new event type.
Risk: low. It adds four tables and four verbs; nothing that was there changes.
Stories: F6-E3.
"""

from datalane.db.migrate import run_sql

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
