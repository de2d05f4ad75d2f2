"""Sessions that are refreshed and end for a reason, and how often somebody may try to begin one.

Intent: keep access tokens short by rotating refresh tokens, notice a stolen one, end sessions together, slow guessing,
    and let people in whom an issuer of ID tokens vouches for.
Rollback: drops the columns and the counters; sessions live on until their access token expires, ended ones do not.
    Accounts without a password stay and cannot be entered until they are linked again.
Consumers: sign-up, sign-in and every authenticated request.
Risk: low; new columns are null for the sessions of before, which cannot be refreshed.
Stories: F2-E1.
"""

from datalane.db.migrate import run_sql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
