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
TRACE = "0af7651916cd43dd8448eb211c80319c"
"""A trace that the other workspace has been told of, and the first one has not."""
PRICE = {"currency": "USD", "input_per_million": "3", "output_per_million": "15"}


def agent_seeds() -> Mapping[str, Sequence[Seed]]:
    return {
        **_versions(),
        **_tools(),
        **_tool_rules(),
        **_runs(),
        **_tool_calls(),
        **_budgets(),
        **_evaluations(),
        **_rollback(),
        **_spans(),
        **_assistant(),
        **_moderations(),
    }


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
        "POST /agents/tools/check": [
            Seed(of(arguments={"of": HOME}), "one's own"),
            Seed(lambda world, actor: Call(body={"tool_name": NEEDED}), "one of the other workspace"),
        ],
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


def _runs() -> Mapping[str, Sequence[Seed]]:
    """Whoever sees the other workspace's runs and threads finds one under the name of the one that is to be made."""

    def of(which: str = "held", **said: Any) -> Build:
        return lambda world, actor: Call(body=_held(world, which, **said))

    def take(world: World, actor: Actor) -> Call:
        return Call(body={"run_id": world.home.things["queued_run_id"], "runtime": f"runtime of {HOME}"})

    def narrowed(world: World, actor: Actor) -> Call:
        things = world.home.things
        return Call(query={"thread_id": things["thread_id"], "parent_run_id": things["held_run_id"]})

    begun = {"agent": f"helper of {HOME}", "runtime": f"runtime of {HOME}", "source_run_id": NEEDED}
    return {
        "POST /agents/threads/open": [Seed(lambda world, actor: Call(body={"external_id": NEEDED}))],
        "POST /agents/runs/begin": [Seed(lambda world, actor: Call(body=begun))],
        "POST /agents/runs/take": [Seed(take)],
        "POST /agents/runs/heartbeat": [Seed(lambda world, actor: Call(body={"runs": [_held(world, "held")]}))],
        "POST /agents/runs/record-steps": [Seed(of(steps=[{"kind": "custom", "name": f"step of {HOME}"}]))],
        "POST /agents/runs/end": [Seed(of(output=f"output of {HOME}"))],
        "GET /agents/runs/list": [Seed(lambda world, actor: Call(), "of all"), Seed(narrowed, "of one thread")],
        "GET /agents/runs/{run_id}": [
            Seed(lambda world, actor: Call(path={"run_id": world.home.things["begun_run_id"]}))
        ],
    }


def _tool_calls() -> Mapping[str, Sequence[Seed]]:
    def request(world: World, actor: Actor) -> Call:
        """Of a tool that only the other workspace has."""
        return Call(body=_held(world, "held", tool_name=NEEDED, arguments={"of": HOME}))

    def of(which: str, **said: Any) -> Build:
        def build(world: World, actor: Actor) -> Call:
            return Call(body=_held(world, which, tool_call_id=world.home.things[f"{which}_call_id"], **said))

        return build

    def resolve(world: World, actor: Actor) -> Call:
        said = {"approve": True, "reason": f"A reason of {HOME}."}
        return Call(body={"tool_call_id": world.home.things["waiting_call_id"], **said})

    return {
        "POST /agents/tool-calls/request": [Seed(request)],
        "POST /agents/tool-calls/start": [Seed(of("ready"))],
        "POST /agents/tool-calls/cancel": [Seed(of("ready"))],
        "POST /agents/tool-calls/succeed": [Seed(of("begun", result=f"result of {HOME}"))],
        "POST /agents/tool-calls/fail": [Seed(of("begun", error_class="provider_error"))],
        "POST /agents/tool-calls/resolve": [Seed(resolve)],
    }


def _budgets() -> Mapping[str, Sequence[Seed]]:
    """Whoever sees the other workspace's budgets is told what that one may use."""

    def of(**said: Any) -> Build:
        return lambda world, actor: Call(body={"meter": "agent.tokens", "period": "month", **said})

    return {
        "POST /agents/budgets/set": [Seed(of(limit="1000000"))],
        "POST /agents/budgets/remove": [Seed(of())],
        "POST /agents/runs/check-budget": [
            Seed(lambda world, actor: Call(body=_held(world, "held", expects_tokens=1)))
        ],
    }


def _evaluations() -> Mapping[str, Sequence[Seed]]:
    """Whoever sees the datasets of the other workspace is answered with its one."""

    def record(world: World, actor: Actor) -> Call:
        things = world.home.things
        said = {"run_id": things["begun_run_id"], "model_version_id": things["model_version_id"]}
        return Call(body=evaluation_of(HOME, things["dataset_version_id"], **said))

    def narrowed(world: World, actor: Actor) -> Call:
        return Call(query={"dataset_version_id": world.home.things["dataset_version_id"]})

    def compare(world: World, actor: Actor) -> Call:
        things = world.home.things
        return Call(query={"evaluation_id": things["evaluation_id"], "baseline_id": things["earlier_evaluation_id"]})

    return {
        "POST /agents/datasets/add": [Seed(lambda world, actor: Call(body=dataset_of(NEEDED, NEEDED)))],
        "POST /agents/evaluations/record": [Seed(record)],
        "GET /agents/evaluations/list": [Seed(lambda world, actor: Call(), "of all"), Seed(narrowed, "of one dataset")],
        "GET /agents/evaluations/compare": [Seed(compare)],
    }


def dataset_of(word: str, name: str) -> dict[str, Any]:
    return {"name": name, "cases": [{"case_id": f"{each} of {word}", "input": word} for each in ("first", "second")]}


def evaluation_of(word: str, dataset_version_id: str, run_id: str, **said: Any) -> dict[str, Any]:
    """Of a dataset with the cases of `dataset_of`; the first case was answered by the run."""
    graded = {"outcome": "graded", "scores": {"proof": 1.0}}
    return {
        "dataset_version_id": dataset_version_id,
        "agent": f"helper of {word}",
        "graders": [{"name": "proof", "scores": ["proof"]}],
        "results": [
            {"case_id": f"first of {word}", "run_id": run_id, **graded},
            {"case_id": f"second of {word}", **graded},
        ],
        **said,
    }


def _rollback() -> Mapping[str, Sequence[Seed]]:
    def of_model(world: World, actor: Actor) -> Call:
        return Call(query={"model_version_id": world.home.things["model_version_id"]})

    return {
        "GET /agents/rollback-report": [
            Seed(of_model, "of a model"),
            Seed(lambda world, actor: Call(query={"tool_name": world.home.tool}), "of a tool"),
        ]
    }


def _spans() -> Mapping[str, Sequence[Seed]]:
    """A trace that nobody knows, and one that the other workspace has been told of: whoever sees that takes its span
    for known. The model is one that only the other workspace has."""
    return {
        "POST /agents/otlp/v1/traces": [
            Seed(lambda world, actor: Call(body=span_of(HOME, "b" * 32)), "of a new trace"),
            Seed(lambda world, actor: Call(body=span_of(HOME, TRACE)), "of a trace of the other workspace"),
        ]
    }


def span_of(word: str, trace_id: str) -> dict[str, Any]:
    """A request of OTLP with one span, a call of a model that is the root of its trace."""
    said = {
        "gen_ai.operation.name": "chat",
        "gen_ai.agent.name": word,
        "gen_ai.provider.name": NEEDED,
        "gen_ai.request.model": NEEDED,
        "gen_ai.conversation.id": NEEDED,
    }
    span = {
        "traceId": trace_id,
        "spanId": "00f067aa0ba902b7",
        "name": f"chat of {word}",
        "startTimeUnixNano": "1772323200000000000",
        "endTimeUnixNano": "1772323201000000000",
        "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in said.items()],
    }
    return {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}


def _moderations() -> Mapping[str, Sequence[Seed]]:
    """Both workspaces have some, told by spans."""
    return {
        "GET /agents/moderations/list": [
            Seed(lambda world, actor: Call(), "of all"),
            Seed(lambda world, actor: Call(query={"run_id": world.home.things["refused_run_id"]}), "of one run"),
        ]
    }


def refusals_of(word: str) -> dict[str, Any]:
    """A request of OTLP with two calls of a model, which refused to answer both."""
    said = {"gen_ai.operation.name": "chat", "gen_ai.agent.name": word}
    attributes = [
        *({"key": key, "value": {"stringValue": value}} for key, value in said.items()),
        {"key": "gen_ai.response.finish_reasons", "value": {"arrayValue": {"values": [{"stringValue": "refusal"}]}}},
    ]
    spans = [
        {
            "traceId": "c" * 32,
            "spanId": f"{number:016x}",
            "parentSpanId": "f" * 16,
            "name": f"refusal of {word}",
            "startTimeUnixNano": "1772323200000000000",
            "endTimeUnixNano": "1772323201000000000",
            "attributes": attributes,
        }
        for number in (1, 2)
    ]
    return {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}


def _assistant() -> Mapping[str, Sequence[Seed]]:
    """It is asked for what both workspaces have something of. Whoever sees the tools of the other one publishes none of
    those that are missing here."""
    asked = {"question": "Where do herons stand, and where do lighthouses shine?"}
    return {
        "POST /agents/tools/publish-built-in": [Seed(lambda world, actor: Call(body={}))],
        "POST /agents/assistant/ask": [Seed(lambda world, actor: Call(body=asked))],
    }


def _held(world: World, which: str, **said: Any) -> dict[str, Any]:
    """A run of the workspace under its first lease."""
    return {"run_id": world.home.things[f"{which}_run_id"], "lease_token": 1, **said}
