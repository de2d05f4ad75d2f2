"""Requests to the routes of agents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datalane.ops.isolation.route_seed import Build, Seed
from datalane.ops.isolation.route_table import Call
from datalane.ops.isolation.route_world import HOME, NEEDED, Actor, World, rule_about_tools, tool_of


VERSIONS: Mapping[str, Mapping[str, Any]] = {
    "prompts": {"name": NEEDED, "template": NEEDED},
    "models": {"provider": NEEDED, "model": NEEDED},
    "output-schemas": {"name": NEEDED, "json_schema": {"title": NEEDED}},
}
"""What the other workspace has registered and the first one has not, by the noun of its routes."""
PRICE = {"currency": "USD", "input_per_million": "3", "output_per_million": "15"}


def agent_seeds() -> Mapping[str, Sequence[Seed]]:
    return {**_versions(), **_tools(), **_tool_rules()}


def _versions() -> Mapping[str, Sequence[Seed]]:
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


def _tools() -> Mapping[str, Sequence[Seed]]:
    """Whoever sees the other workspace's tools publishes no first version of this one."""

    def of(**said: Any) -> Build:
        return lambda world, actor: Call(body={"tool_name": world.home.tool, **said})

    def read(world: World, actor: Actor) -> Call:
        return Call(path={"tool_name": world.home.tool})

    return {
        "POST /agents/tools/publish": [
            Seed(lambda world, actor: Call(body=tool_of(HOME, NEEDED)), "new"),
            Seed(lambda world, actor: Call(body=tool_of(f"{HOME} anew", world.home.tool)), "another version"),
        ],
        "POST /agents/tools/enable": [Seed(of())],
        "POST /agents/tools/disable": [Seed(of(reason=f"A reason of {HOME}."))],
        "POST /agents/tools/check": [Seed(of(arguments={"of": HOME}))],
        "GET /agents/tools/{tool_name}": [Seed(read)],
    }


def _tool_rules() -> Mapping[str, Sequence[Seed]]:
    def of(**said: Any) -> Build:
        return lambda world, actor: Call(body={"rule_id": world.home.things["tool_rule_id"], **said})

    def order(world: World, actor: Actor) -> Call:
        return Call(body={"rule_ids": [world.home.things["tool_rule_id"]]})

    return {
        "POST /agents/tool-rules/create": [Seed(lambda world, actor: Call(body=rule_about_tools(HOME)))],
        "POST /agents/tool-rules/change": [Seed(of(**rule_about_tools(f"{HOME} anew")))],
        "POST /agents/tool-rules/enable": [Seed(of())],
        "POST /agents/tool-rules/disable": [Seed(of(reason=f"A reason of {HOME}."))],
        "POST /agents/tool-rules/delete": [Seed(of())],
        "POST /agents/tool-rules/reorder": [Seed(order)],
        "GET /agents/tool-rules/{rule_id}": [
            Seed(lambda world, actor: Call(path={"rule_id": world.home.things["tool_rule_id"]}))
        ],
    }
