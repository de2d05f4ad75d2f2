"""Authorization: the role matrix, so that operators and other programs read the same lines as the service.

Intent: keep role x action x resource where every program can read it.
Rollback: drops the table; the service holds the matrix itself and registers it again.
Consumers: `datalane authz matrix`, operators.
Risk: none, the table is new.
Stories: F2-E3.
"""

from datalane.db.migrate import run_sql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
