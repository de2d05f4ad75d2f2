"""Tools, versions and prices of agents in the world of the route proof."""

from __future__ import annotations

from datalane.ops.isolation.agent_seeds import PRICE, VERSIONS
from datalane.ops.isolation.route_integrating import IntegrationsMaker
from datalane.ops.isolation.route_maker import ids_in
from datalane.ops.isolation.route_table import Call
from datalane.ops.isolation.route_world import NEEDED, OTHER, Space, rule_about_tools, tool_of


class AgentsMaker(IntegrationsMaker):
    async def add_agents(self, space: Space) -> None:
        """Two versions of each kind and two prices. Those in `things` are the last ones; the other workspace has one of
        each kind besides, which is what the requests to register say."""
        for noun, needed in VERSIONS.items():
            said = [_renamed(needed, f"{which} of {space.word}") for which in ("First", "Second")]
            for body in (*([needed] if space.word == OTHER else []), *said):
                made = await self.make(space, f"POST /agents/{noun}/register", Call(body=body))
                space.things.update(ids_in(made))
        for _ in range(2):
            body = {**PRICE, "model_version_id": space.things.get("model_version_id")}
            space.things.update(ids_in(await self.make(space, "POST /agents/prices/create", Call(body=body))))

    async def add_tools(self, space: Space) -> None:
        """Two tools, the second one that of the space, and a rule; the other workspace has one that is `NEEDED`."""
        space.tool = f"{space.word}.second"
        names = [f"{space.word}.first", space.tool, *([NEEDED] if space.word == OTHER else [])]
        for name in names:
            await self.make(space, "POST /agents/tools/publish", Call(body=tool_of(space.word, name)))
        rule = await self.make(space, "POST /agents/tool-rules/create", Call(body=rule_about_tools(space.word)))
        if rule:
            space.things["tool_rule_id"] = rule["rule_id"]


def _renamed(body: object, word: str) -> object:
    """The same with another text in the place of every one."""
    if isinstance(body, dict):
        return {key: _renamed(value, word) for key, value in body.items()}
    return word
