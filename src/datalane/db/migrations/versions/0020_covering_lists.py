"""Lists of a project, a status, an assignee or a creator in another order than that of updates read their index alone.

Intent: each of the four indexes includes what a list may be ordered by. Such a list is read and sorted without the
items: half the time where 50,000 of a project are read.
Rollback: makes the indexes again as they were.
Consumers: every list of items.
Risk: building an index waits for the writers of items. Where a workspace has many, build the four by hand before
(CREATE INDEX CONCURRENTLY, as `docs/how-to/write-a-migration.md` shows), and drop the old ones by hand.
Stories: F3-E3.
"""

from datalane.db.migrate import run_sql

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
