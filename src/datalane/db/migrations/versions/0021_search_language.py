"""A workspace says what language its texts are in.

Intent: words are cut by the rules of that language; until now every workspace had English.
Rollback: drops the two functions; workspaces keep their language.
Consumers: `POST /workspaces/search-language/set`; who indexes texts holds the language.
Risk: low. It adds two functions and changes nothing that is there.
Stories: F5-E2.
"""

from datalane.db.migrate import run_sql

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
