"""Product analytics: the tracking plan, events with the plan that was enforced when they happened, what is held back,
and where reports differ from what was enforced.

Intent: an event is stored once, checked against the version of the tracking plan that it names, with the plan that the
workspace had at that moment; what is not valid is held until it is repaired, and a client that saw another plan shows.
Rollback: drops the tables with the events, what is held, and the anomalies.
Consumers: the API and the library record events, admins keep the tracking plan and mend what is held, the operator
resolves anomalies, the maintenance process forgets; an application registers its own events when it opens the lane.
Risk: low. The tables are new. It reads the plans of a workspace by `plan_timeline`.
Stories: F7-E3.
"""

from datalane.db.migrate import run_sql

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
