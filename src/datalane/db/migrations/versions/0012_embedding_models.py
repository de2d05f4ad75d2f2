"""Embedding models: a registry for each workspace, so that vectors of another model can be made beside those in use.

Intent: a workspace moves to another embedding model, and back, without a moment in which search fails or mixes models;
and a job that is asked to wait (by a rate limit) does so without spending its attempts.
Rollback: drops the registry and the verb. Vectors of all models stay; the last release searches those of its own.
Consumers: ingestion and retrieval ask the registry; workers of this release postpone jobs.
Risk: low. It adds one table and two functions and changes none. A workspace without a row goes on as it was.
Stories: F5-E1, F5-E2.
"""

from datalane.db.migrate import run_sql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")
    run_sql(__file__, "verbs")


def downgrade() -> None:
    run_sql(__file__, "down")
