"""Tools, versions, prices and runs of agents in the world of the route proof."""

from __future__ import annotations

from typing import Any

from datalane.ops.isolation.agent_seeds import PRICE, TRACE, VERSIONS, dataset_of, evaluation_of, refusals_of, span_of
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
        await self._publish_built_in(space)
        rule = await self.make(space, "POST /agents/tool-rules/create", Call(body=rule_about_tools(space.word)))
        if rule:
            space.things["tool_rule_id"] = rule["rule_id"]

    async def _publish_built_in(self, space: Space) -> None:
        """The other workspace has all of the lane's own tools, the first one those that an answer takes."""
        if space.word == OTHER:
            await self.make(space, "POST /agents/tools/publish-built-in", Call(body={}))
            return
        for name, effect in (("knowledge.search", "read"), ("knowledge.cite", "write")):
            tool = {**tool_of(space.word, name), "side_effect": effect, "approval": "never"}
            await self.make(space, "POST /agents/tools/publish", Call(body=tool))

    async def add_runs(self, space: Space) -> None:
        """Two threads, and runs: one that goes on, one with a call that may begin, one with a call that has begun, one
        in the queue, and two that wait for a person. The other workspace has a thread and a run that are `NEEDED`, and
        a run that spans of `TRACE` told; both have one with refusals that spans told."""
        if "POST /agents/runs/begin" not in self.routes:
            return
        names = [NEEDED] if space.word == OTHER else []
        for name in (*names, f"First of {space.word}", f"Second of {space.word}"):
            opened = await self.make(space, "POST /agents/threads/open", Call(body={"external_id": name}))
            space.things["thread_id"] = opened["thread_id"]
        asking = f"{space.word}.approved"
        tool = {**tool_of(space.word, asking), "approval": "always"}
        await self.make(space, "POST /agents/tools/publish", Call(body=tool))
        for name in names:
            await self._begin(space, source_run_id=name)
        held, queued = await self._begin(space), await self._begin(space, runtime=None)
        space.things |= {"held_run_id": held, "queued_run_id": queued}
        calls: dict[str, dict[str, Any]] = {"ready": {"execute": False}, "begun": {}, "waiting": {"tool_name": asking}}
        for name, said in calls.items():
            run, call = await self._call(space, **said)
            space.things |= {f"{name}_run_id": run, f"{name}_call_id": call}
        await self._call(space, tool_name=asking)
        if names:
            await self.make(space, "POST /agents/otlp/v1/traces", Call(body=span_of(space.word, TRACE)))
        await self.make(space, "POST /agents/otlp/v1/traces", Call(body=refusals_of(space.word)))
        listed = await self.make(space, "GET /agents/moderations/list", Call())
        space.things["refused_run_id"] = listed["data"][0]["run_id"]

    async def add_budgets(self, space: Space) -> None:
        """One of each period; the other workspace has another one besides."""
        if "POST /agents/budgets/set" not in self.routes:
            return
        bound = {"agent.tokens": {}, **({"agent.cost": {"currency": "USD"}} if space.word == OTHER else {})}
        for meter, said in bound.items():
            for period in ("day", "month"):
                body = {"meter": meter, "period": period, "limit": "1000000000", **said}
                await self.make(space, "POST /agents/budgets/set", Call(body=body))

    async def add_evaluations(self, space: Space) -> None:
        """Two datasets, and two evaluations of the last one; the other workspace has a dataset that is `NEEDED`."""
        if "POST /agents/evaluations/record" not in self.routes:
            return
        datasets = [dataset_of(space.word, f"{which} of {space.word}") for which in ("First", "Second")]
        for body in (*([dataset_of(NEEDED, NEEDED)] if space.word == OTHER else []), *datasets):
            added = await self.make(space, "POST /agents/datasets/add", Call(body=body))
            space.things["dataset_version_id"] = added["dataset_version_id"]
        for name in ("earlier_evaluation_id", "evaluation_id"):
            said = {name: space.things[name] for name in ("dataset_version_id", "model_version_id")}
            body = evaluation_of(space.word, run_id=space.things["begun_run_id"], **said)
            made = await self.make(space, "POST /agents/evaluations/record", Call(body=body))
            space.things[name] = made["evaluation_id"]

    async def _begin(self, space: Space, **said: Any) -> str:
        body = {"agent": f"helper of {space.word}", "runtime": "proof", "lease_seconds": 86_400, **said}
        body["model_version_id"] = space.things.get("model_version_id")
        return str((await self.make(space, "POST /agents/runs/begin", Call(body=body)))["run_id"])

    async def _call(self, space: Space, **said: Any) -> tuple[str, str]:
        """A run with a call of a tool."""
        run = await self._begin(space, thread_id=space.things["thread_id"], parent_run_id=space.things["held_run_id"])
        body = {"run_id": run, "lease_token": 1, "tool_name": space.tool, "arguments": {"of": space.word}, **said}
        made = await self.make(space, "POST /agents/tool-calls/request", Call(body=body))
        return run, str(made["tool_call_id"])


def _renamed(body: object, word: str) -> object:
    """The same with another text in the place of every one."""
    if isinstance(body, dict):
        return {key: _renamed(value, word) for key, value in body.items()}
    return word
