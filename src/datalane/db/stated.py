"""What the SQL verbs must know of the settings, stated by the connection that calls them.

The verbs have the defaults built in (`engine/verbs/00_guards.sql`), for callers from any driver, so only a setting that
differs is stated and a lane with the defaults pays nothing.
"""

from __future__ import annotations

from datalane.settings import JobSettings, Limits

_MOST = 2**31 - 1
"""What the verbs can hold; a larger value is one that nothing reaches."""


def stated_settings(limits: Limits, jobs: JobSettings) -> tuple[str, ...]:
    """`name = 'value'` of each setting that differs from its default, to stand behind SET or SET LOCAL."""
    wanted = {
        "app.causation_limit": (limits.causation_depth, Limits().causation_depth),
        "app.payload_limit": (limits.event_payload, Limits().event_payload),
        "app.default_attempts": (jobs.max_attempts, JobSettings().max_attempts),
    }
    return tuple(f"{name} = '{min(value, _MOST)}'" for name, (value, default) in wanted.items() if value != default)
