"""Demo access in the world of the route proof: no route makes it, since it is for the operator to tell."""

from __future__ import annotations

from datetime import timedelta

from datalane.access.lifecycle.schemas import NewSignal
from datalane.access.lifecycle.service import tell
from datalane.contracts.context import Context
from datalane.db.database import Database
from datalane.kit.clock import utc_now
from datalane.ops.isolation.route_world import OTHER, Space


async def add_demo_access(database: Database, spaces: tuple[Space, Space]) -> None:
    """Three changes in both workspaces. In the other one a signal is held besides, and its rows come first: whoever
    does not say where finds those."""
    for space in sorted(spaces, key=lambda space: space.word != OTHER):
        async with database.transaction(Context.system(space.workspace_id)) as tx:
            await tell(tx, _signals(space.word))


def _signals(word: str) -> list[NewSignal]:
    now = utc_now()
    names = ("activate", "suspend", "resume")
    told = [_signal(word, name, now - timedelta(hours=3 - place)) for place, name in enumerate(names)]
    return [*told, *([_signal(word, "activate", now + timedelta(days=3))] if word == OTHER else [])]


def _signal(word: str, name: str, at: object) -> NewSignal:
    plan = {"plan_id": f"plan-of-{word}".lower().replace(" ", "-")} if name == "activate" else {}
    said = {"source_system": f"source of {word}", "source_event_id": f"{name} of {word} at {at}", "signal": name}
    return NewSignal.model_validate({**said, "occurred_at": at, **plan})
