"""Requests to the routes of analytics.

Both workspaces track events of two names; the other one tracks two more besides, of one of which both have told, and
has told events under ids that the first one has not: whoever sees those is told of duplicates, of conflicts and of
larger counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from datalane.kit.clock import utc_now
from datalane.ops.isolation.route_seed import Seed
from datalane.ops.isolation.route_table import Call
from datalane.ops.isolation.route_world import HOME, NEEDED

SEEN, PAID, ELSEWHERE = "proof.seen", "proof.paid", f"{NEEDED}.seen"
TOLD, HELD = f"{NEEDED} and told", f"{NEEDED} and held"
"""The ids of events that the other workspace has told of, one of which is held back."""
LOST = "proof.lost"
"""The name of events that both have told and the other workspace alone tracks."""
FIRST_HELD = "first held"
"""The id of an event that each workspace holds back."""


def analytics_seeds() -> Mapping[str, Sequence[Seed]]:
    return {**_telling(), **_mending(), **_asking()}


def event_of(word: str, key: str, name: str = SEEN, **said: Any) -> dict[str, Any]:
    """Valid unless its payload is said to be another one, and of yesterday: trends judge no day that is not over."""
    moment = (utc_now() - timedelta(days=1)).isoformat()
    usual = {"event_name": name, "source_event_id": key, "occurred_at": moment, "subject": f"somebody of {word}"}
    return {**usual, "payload": {"of": word}, **said}


def version_of(word: str, name: str, version: int = 1) -> dict[str, Any]:
    return {
        "event_name": name,
        "event_version": version,
        "json_schema": {"title": word, "required": ["of"]},
        "owner": f"owner of {word}",
    }


def _telling() -> Mapping[str, Sequence[Seed]]:
    def tell(**said: Any) -> Seed:
        return Seed(lambda world, actor: Call(body=event_of(HOME, **said)), said["key"])

    batch = [
        event_of(HOME, "new"),
        event_of(HOME, "of an event of the other workspace", ELSEWHERE),
        event_of(HOME, "not valid", PAID, payload={}),
    ]
    return {
        "POST /billing/analytics-events": [
            tell(key=TOLD),
            tell(key=HELD, payload={}),
            Seed(lambda world, actor: Call(body={"events": batch}), "many"),
        ],
        "POST /analytics/tracking-plan/register": [
            Seed(lambda world, actor: Call(body=version_of(HOME, ELSEWHERE)), "new"),
            Seed(lambda world, actor: Call(body=version_of(HOME, SEEN)), "one that is there"),
        ],
        "GET /analytics/tracking-plan/list": [
            # What the application tracks stands among it, the same for both workspaces.
            Seed(lambda world, actor: Call(query={"page_size": "100"}), "of all"),
            Seed(lambda world, actor: Call(query={"event_name": ELSEWHERE}), "of one name"),
        ],
        "POST /analytics/tracking-plan/retire": [
            Seed(lambda world, actor: Call(body={"event_name": PAID, "event_version": 1, "reason": f"of {HOME}"}))
        ],
    }


def _mending() -> Mapping[str, Sequence[Seed]]:
    repair = {"source_event_id": FIRST_HELD, "version": 1, "payload": {"of": HOME}, "note": f"A note of {HOME}."}
    discard = {"filter": {}, "reason": f"A reason of {HOME}."}
    return {
        "POST /analytics/quarantine/repair": [Seed(lambda world, actor: Call(body=repair))],
        "POST /analytics/quarantine/replay": [
            Seed(lambda world, actor: Call(body={}), "of all"),
            Seed(lambda world, actor: Call(body={"dry_run": True}), "dry run"),
        ],
        "POST /analytics/quarantine/discard": [
            Seed(lambda world, actor: Call(body=discard), "of all"),
            Seed(lambda world, actor: Call(body={**discard, "dry_run": True}), "dry run"),
        ],
    }


def _asking() -> Mapping[str, Sequence[Seed]]:
    def ask(**said: Any) -> Sequence[Seed]:
        today = utc_now().date()
        span = {"first_day": str(today - timedelta(days=7)), "last_day": str(today)}
        return [Seed(lambda world, actor: Call(body={**span, **said}))]

    return {
        "POST /analytics/queries/funnel": ask(steps=[SEEN, PAID], by_plan=True),
        "POST /analytics/queries/retention": ask(entry_event=SEEN, return_event=PAID),
        "POST /analytics/queries/adoption": ask(event_name=PAID),
        "POST /analytics/queries/segments": ask(event_name=SEEN),
        "POST /analytics/queries/trend": ask(event_name=SEEN),
    }
