"""Whether outputs are what their schemas say, and what is refused because it would not end."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalane.agents.conformance import check_schema, conforms
from datalane.agents.schema_work import SchemaWork
from datalane.errors import DatalaneError, InvalidInput, LimitExceeded

ANSWER = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "answer": {"type": "string", "maxLength": 20},
        "score": {"anyOf": [{"type": "number"}, {"type": "null"}]},
    },
    "required": ["answer"],
    "additionalProperties": False,
}
TREE = {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}, "additionalProperties": False}


def test_an_output_that_is_what_the_schema_says_has_no_fault() -> None:
    assert conforms(ANSWER, {"answer": "42", "score": None}) == (True, [])
    assert conforms(TREE, {"left": {"right": {}}, "right": {}}) == (True, [])
    assert conforms({}, "anything") == (True, [])


def test_faults_are_told_by_their_place() -> None:
    told, faults = conforms(ANSWER, {"answer": 42, "score": "high"})
    assert (told, [fault["field"] for fault in faults]) == (False, ["answer", "score"])
    assert conforms(TREE, {"left": {"right": {"up": 1}}})[1][0]["field"] == "left/right"
    assert conforms(ANSWER, [])[1][0]["field"] == "output"


def test_at_most_ten_faults_are_told_and_shortly_and_what_is_wrong_is_not_cut_off() -> None:
    told, faults = conforms({"items": {"type": "integer"}}, ["x" * 500] * 50)
    assert (told, len(faults)) == (False, 10)
    assert all(len(fault["message"]) <= 201 for fault in faults)
    assert faults[0]["message"].endswith('… is not of type "integer"')


def test_of_a_large_output_the_first_fault_is_told() -> None:
    row = {"type": "object", "properties": {"a": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}}
    rows: list[Any] = [{"a": number} for number in range(50_000)]
    assert conforms({"items": row}, rows) == (True, [])
    rows[40_000] = {"a": "x"}
    assert [fault["field"] for fault in conforms({"items": row}, rows)[1]] == ["40000/a"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nope"},
        {"$schema": "http://json-schema.org/draft-07/schema#"},
        {"$schema": "https://example.com/another"},
        {"items": [{"type": "string"}]},
        {"minimum": "1"},
        {"$ref": "#/$defs/missing"},
        {"$ref": "#answer", "$defs": {"a": {"$anchor": "answer"}}},
        {"$dynamicRef": "#a"},
        {"$defs": {"a": {"$id": "https://example.com/a"}}},
        {"pattern": "(?=a)"},
        {"pattern": r"(a)\1"},
        {"pattern": "(((a{1000}){1000}){1000})"},
        {"$ref": "#"},
        {"allOf": [{"anyOf": [{"$ref": "#"}]}]},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"const": float("nan")},
        {"const": "\x00"},
        {"const": "\ud800"},
    ],
)
def test_what_is_no_schema_that_stands_by_itself_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        check_schema(schema, "body.json_schema")


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """The address of a server that answers with a schema, and the paths that it was asked for."""
    asked: list[str] = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

    server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("put", [lambda ref: ref, lambda ref: {"items": ref}, lambda ref: {"$defs": {"unused": ref}}])
def test_a_reference_to_elsewhere_is_refused_and_nothing_is_fetched(listener: tuple[str, list[str]], put: Any) -> None:
    address, asked = listener
    for target in (
        f"{address}/schema",
        "file:///etc/hostname",
        "other.json",
        "https://json-schema.org/draft/2020-12/schema",
    ):
        with pytest.raises(InvalidInput, match="beyond the schema"):
            check_schema(put({"$ref": target}))
    assert asked == []


def doubling(depth: int) -> dict[str, Any]:
    """2 ** depth steps, in a few lines."""
    levels: dict[str, Any] = {f"l{n}": {"allOf": [{"$ref": f"#/$defs/l{n + 1}"}] * 2} for n in range(depth)}
    return {"$defs": {**levels, f"l{depth}": {"type": "integer"}}, "$ref": "#/$defs/l0"}


def chain(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"next": value}
    return value


BRANCHES = {"anyOf": [{"properties": {"next": {"$ref": "#"}}, "required": [name]} for name in ("a", "b")]}


@pytest.mark.parametrize(
    ("schema", "output"),
    [
        (doubling(28), 1),
        (doubling(500), 1),
        (BRANCHES, chain(40)),
        ({"allOf": [{"minimum": number} for number in range(3_000)]} | {"items": {"$ref": "#"}}, [[0] * 100_000]),
        ({"items": {"allOf": [{"minimum": number} for number in range(3_000)]}}, list(range(100_000))),
        ({"allOf": [{"pattern": "x"}] * 200}, "a"),
        ({"const": "x" * 65_536}, "x"),
        ({}, "x" * 2**20),
        ({}, chain(65)),
    ],
)
def test_what_would_take_too_long_is_refused_at_once(schema: dict[str, Any], output: Any) -> None:
    began = time.process_time()
    with pytest.raises(LimitExceeded):
        conforms(schema, output)
    assert time.process_time() - began < 5


def test_a_schema_that_is_too_deep_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(40):
        schema = {"not": schema}
    with pytest.raises(LimitExceeded, match="deeper"):
        check_schema(schema)


def test_a_fault_below_many_branches_is_told_without_a_place_and_soon() -> None:
    began = time.process_time()
    assert conforms(BRANCHES, chain(15))[0] is False
    assert time.process_time() - began < 5


schemas = st.recursive(
    st.sampled_from(
        [
            {},
            {"type": "integer"},
            {"type": "string"},
            {"minimum": 2},
            {"const": 1},
            {"required": ["a"]},
            {"maxItems": 1},
            True,
            False,
        ]
    ),
    lambda inner: st.one_of(
        st.fixed_dictionaries({}, optional={"allOf": st.lists(inner, min_size=1, max_size=2), "not": inner}),
        st.fixed_dictionaries({}, optional={"anyOf": st.lists(inner, min_size=1, max_size=2), "items": inner}),
        st.fixed_dictionaries(
            {}, optional={"properties": st.fixed_dictionaries({"a": inner}), "if": inner, "then": inner}
        ),
        st.fixed_dictionaries({}, optional={"unevaluatedProperties": inner, "contains": inner, "propertyNames": inner}),
    ),
    max_leaves=6,
)
values = st.recursive(
    st.sampled_from([None, True, 0, 1, 2.5, "", "a"]),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("ab"), inner)),
    max_leaves=6,
)


def visits(schema: Any, value: Any, root: Any) -> int:
    """How often a schema looks at a value, counted one by one. What asks for what was not looked at looks again."""
    if isinstance(schema, bool):
        return 1
    here = [schema[word] for word in ("not", "if", "then") if word in schema]
    here += [*schema.get("allOf", []), *schema.get("anyOf", []), *([root] if "$ref" in schema else [])]
    parts: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        parts += [(each, value[name]) for name, each in schema.get("properties", {}).items() if name in value]
        parts += [(schema["propertyNames"], name) for name in value if "propertyNames" in schema]
        parts += [
            (schema["unevaluatedProperties"], each) for each in value.values() if "unevaluatedProperties" in schema
        ]
    if isinstance(value, list):
        parts += [(schema[word], each) for each in value for word in ("items", "contains") if word in schema]
    again = 2 if "unevaluatedProperties" in schema else 1
    return 1 + again * sum(visits(each, value, root) for each in here) + sum(visits(*part, root) for part in parts)


recursive = schemas.map(
    lambda inner: {"items": {"$ref": "#"}, "properties": {"a": {"$ref": "#"}}, "anyOf": [inner, inner]}
)


@given(st.one_of(schemas.filter(lambda schema: isinstance(schema, dict)), recursive), values)
def test_the_work_that_is_counted_is_never_less_than_there_is(schema: dict[str, Any], output: Any) -> None:
    work, done = SchemaWork(schema), visits(schema, output, schema)
    assert work.steps(output).all >= done
    assert work.whole is None or work.whole * (1 + len(json.dumps(output))) >= done


@given(schemas.filter(lambda schema: isinstance(schema, dict)), values)
def test_the_answer_is_the_librarys(schema: dict[str, Any], output: Any) -> None:
    try:
        told, faults = conforms(schema, output)
    except DatalaneError as error:
        pytest.fail(f"{error}")
    assert told == jsonschema_rs.Draft202012Validator(schema).is_valid(output)
    assert told == (not faults)
