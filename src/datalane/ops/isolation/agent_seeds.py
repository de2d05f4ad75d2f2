"""Requests to the routes of agents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datalane.ops.isolation.route_seed import Seed
from datalane.ops.isolation.route_table import Call
from datalane.ops.isolation.route_world import NEEDED, World

VERSIONS: Mapping[str, Mapping[str, Any]] = {
    "prompts": {"name": NEEDED, "template": NEEDED},
    "models": {"provider": NEEDED, "model": NEEDED},
    "output-schemas": {"name": NEEDED, "json_schema": {"title": NEEDED}},
}
"""What the other workspace has registered and the first one has not, by the noun of its routes."""
PRICE = {"currency": "USD", "input_per_million": "3", "output_per_million": "15"}


def agent_seeds() -> Mapping[str, Sequence[Seed]]:
    """Whoever sees the versions of the other workspace is answered with those."""

    def new(noun: str) -> Sequence[Seed]:
        return [Seed(lambda world, actor: Call(body=VERSIONS[noun]))]

    def of_model(world: World, **said: str) -> Mapping[str, str]:
        return {"model_version_id": world.home.things["model_version_id"], **said}

    return {
        **{f"POST /agents/{noun}/register": new(noun) for noun in VERSIONS},
        "POST /agents/prices/create": [Seed(lambda world, actor: Call(body=of_model(world, **PRICE)))],
        "GET /agents/prices/list": [
            Seed(lambda world, actor: Call(), "of all"),
            Seed(lambda world, actor: Call(query=of_model(world)), "of one model"),
        ],
    }
