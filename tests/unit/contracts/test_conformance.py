"""Whether outputs are what their schemas say, and what is refused because it would not end."""

from __future__ import annotations

import http.server
import json
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalane.contracts import conformance
from datalane.contracts.conformance import Fault, KeptSchemas, check_schema, conforms, find_faults
from datalane.contracts.schema_work import SchemaWork
from datalane.errors import InvalidInput, LimitExceeded

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
    for schema, output in (
        (ANSWER, {"answer": "42", "score": None}),
        (TREE, {"left": {"right": {}}, "right": {}}),
        ({}, "anything"),
    ):
        assert conforms(schema, output)
        assert find_faults(schema, output) == ()


def test_faults_are_told_by_their_place() -> None:
    assert not conforms(ANSWER, {"answer": 42, "score": "high"})
    assert [fault.field for fault in find_faults(ANSWER, {"answer": 42, "score": "high"})] == ["answer", "score"]
    assert find_faults(TREE, {"left": {"right": {"up": 1}}})[0].field == "left/right"
    assert find_faults(ANSWER, []) == (Fault("", '[] is not of type "object"'),)


def test_at_most_ten_faults_are_told_and_shortly_and_what_is_wrong_is_not_cut_off() -> None:
    faults = find_faults({"items": {"type": "integer"}}, ["x" * 500] * 50)
    assert len(faults) == 10
    assert all(len(fault.message) <= 201 for fault in faults)
    assert faults[0].message.endswith('… is not of type "integer"')


def test_of_a_large_output_the_first_fault_is_told() -> None:
    row = {"type": "object", "properties": {"a": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}}
    rows: list[Any] = [{"a": number} for number in range(50_000)]
    assert conforms({"items": row}, rows)
    rows[40_000] = {"a": "x"}
    assert [fault.field for fault in find_faults({"items": row}, rows)] == ["40000/a"]


def test_what_cannot_be_checked_does_not_fit() -> None:
    for schema, output in (({"$ref": "#"}, 1), ({}, "x" * 2**20), ({}, "\x00"), ({}, {1, 2})):
        [fault] = find_faults(schema, output, "the arguments")
        assert fault.field == ""
        with pytest.raises((InvalidInput, LimitExceeded), match=re.escape(fault.message)):
            conforms(schema, output, "the arguments")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nope"},
        {"$schema": "http://json-schema.org/draft-07/schema#"},
        {"$schema": "https://example.com/another"},
        {"$schema": 5},
        {"properties": {"a": 5}},
        {"required": ["a", "a"]},
        {"pattern": "("},
        {"patternProperties": {"(": {}}},
        {"items": {"$schema": "http://127.0.0.1:9/mine"}},
        {"$id": "http://127.0.0.1:9/a", "properties": {"x": {"$ref": "b"}}},
        {"allOf": [], "$ref": "#/allOf/7"},
        {"$ref": "#/x", "x": {"properties": 5}},
        {"$ref": "#/x", "x": {"then": {"y": 1, "$ref": "#/x"}}},
        {"items": [{"type": "string"}]},
        {"minimum": "1"},
        {"$ref": "#/$defs/missing"},
        {"$ref": "#answer", "$defs": {"a": {"$anchor": "answer"}}},
        {"$dynamicRef": "#a"},
        {"$defs": {"a": {"$id": "https://example.com/a"}}},
        {"pattern": "(?=a)"},
        {"pattern": r"(a)\1"},
        {"pattern": "(((a{1000}){1000}){1000})"},
        {"pattern": r"(\p{L}{50}){50}"},
        {"allOf": [{"pattern": r"[^\W&&a](?i:\W)" * 100}]},
        {"pattern": r"\\\\(?i)a"},
        {"maximum": 2**70},
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


@pytest.mark.parametrize(
    "schema",
    [
        {"const": {"$ref": "http://127.0.0.1:9/x", "$id": "http://127.0.0.1:9/y"}},
        {"enum": [{"$ref": "#"}], "default": {"$dynamicRef": "x"}},
        {"properties": {"$ref": {"type": "string"}, "$id": {"type": "string"}, "pattern": {}}},
        {"$id": "https://example.com/tool", "properties": {"a": {"$ref": "#/$defs/a%20b"}}, "$defs": {"a b": {}}},
        {"$ref": "#/$defs/a~1b~0c", "$defs": {"a/b~c": True}},
        {"$ref": "#/components/schemas/a", "components": {"schemas": {"a": {"type": "object"}}}},
        {"properties": {str(n): {"type": "string"} for n in range(1_000)}},
        {"pattern": "(a+)+$"},
        {"pattern": r"^\(?abc\)?(?P<name>[a-z]+)(?:--)?$"},
    ],
)
def test_what_only_looks_like_it_is_taken(schema: dict[str, Any]) -> None:
    check_schema(schema)


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


def unevaluated(levels: int, each: int, inside: bool) -> dict[str, Any]:
    """What is not evaluated is asked at the top, or `inside` at each level, of all that is below."""
    asks = {"unevaluatedProperties": False}
    level = {
        f"l{n}": {"anyOf": [{"$ref": f"#/$defs/l{n + 1}"}] * each} | (asks if inside else {}) for n in range(levels)
    }
    return {"$defs": {**level, f"l{levels}": {"properties": {"a": {}}}}, "$ref": "#/$defs/l0", **asks}


def chain(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"next": value}
    return value


def seconds(run: Callable[..., Any], *given: Any) -> tuple[float, Any]:
    """Of the processor, and what it answers."""
    began = time.process_time()
    answer = run(*given)
    return time.process_time() - began, answer


BRANCHES = {"anyOf": [{"properties": {"next": {"$ref": "#"}}, "required": [name]} for name in ("a", "b")]}


@pytest.mark.parametrize(
    "schema",
    [
        doubling(28),
        doubling(500),
        unevaluated(12, 1, inside=True),
        unevaluated(20, 1, inside=False),
        unevaluated(20, 2, inside=False),
        {"enum": [1e-300 * n for n in range(1, 2_000)]},
        {"anyOf": [{"multipleOf": 1e-300 * n} for n in range(1, 1_000)]},
        {"allOf": [{"pattern": f"x{n}"} for n in range(200)]},
        {"allOf": [{"pattern": f"(a|b)*a(a|b){{100}}{n}"} for n in range(90)]},
        {"const": "x" * 65_536},
    ],
)
def test_a_schema_that_asks_for_too_much_is_refused_at_once(schema: dict[str, Any]) -> None:
    def refuse() -> None:
        with pytest.raises(LimitExceeded):
            check_schema(schema)

    assert seconds(refuse)[0] < 1


AB = "".join(random.Random(1).choices("ab", k=2**20 - 100))
HEAVY: dict[str, tuple[dict[str, Any], Callable[[int], Any]]] = {
    "a recursive union": (BRANCHES, chain),
    "nested plus": ({"pattern": "(a+)+$"}, lambda n: "a" * n + "!"),
    "states of a pattern": ({"pattern": "(a|b)*a(a|b){20}c"}, lambda n: AB[:n]),
    "a large pattern": ({"pattern": "a(a|b){300}c|b(a|b){299}d|(a|b){400}e"}, lambda n: AB[:n]),
    "a pattern of names": ({"patternProperties": {"(a|b)*a(a|b){99}c": {}}}, lambda n: {AB[:n]: 1}),
    "many subschemas": ({"items": {"allOf": [{"type": "object"}] * 1_900}}, lambda n: [{}] * n),
    "unions": ({"items": {"not": {"anyOf": [{"minLength": m + 9} for m in range(900)]}}}, lambda n: ["é"] * n),
    "values": ({"items": {"not": {"enum": [{"a": m} for m in range(2_000)]}}}, lambda n: [{"a": -1}] * n),
    "fractions": ({"items": {"not": {"enum": [m + 0.5 for m in range(2_000)]}}}, lambda n: [5] * n),
    "tiny fractions": ({"items": {"not": {"enum": [1, 2, 3, 4, 5]}}}, lambda n: [1.1e-300] * n),
    "multiples": ({"items": {"multipleOf": 0.01}}, lambda n: [1.1e300] * n),
    "bounds": ({"items": {"not": {"anyOf": [{"minimum": m + 0.5} for m in range(900)]}}}, lambda n: [-5] * n),
    "lists of a prefix": (
        {"items": {"not": {"enum": [["a"] * 99 + [m] for m in range(90)]}}},
        lambda n: [["a"] * 99] * n,
    ),
    "none alike": ({"uniqueItems": True}, lambda n: list(range(n))),
    "none of a few alike": ({"items": {"uniqueItems": True}}, lambda n: [[1e-300 * m for m in range(1, 16)]] * n),
    "none alike, again and again": (
        {"allOf": [{"uniqueItems": True}] * 900},
        lambda n: [["a"] * n + [m] for m in range(17)],
    ),
    "contained": ({"allOf": [{"contains": {"minimum": m}, "minContains": 0} for m in range(900)]}, lambda n: [-1] * n),
    "not evaluated": (unevaluated(3, 1, inside=True), lambda n: {"a": AB[:n]}),
    "not evaluated items": (
        {"allOf": [{"contains": {"minimum": m}, "unevaluatedItems": {}} for m in range(90)]},
        lambda n: [99] * n,
    ),
    "names": (
        {"properties": {f"p{m}": {"type": "integer"} for m in range(2_000)}},
        lambda n: {f"p{m}": 1 for m in range(n)},
    ),
    "places": ({"items": {"properties": {"a": {"type": "integer"}}}, "minItems": 9}, lambda n: [{"a": 1}] * n),
}


@pytest.mark.parametrize("case", HEAVY)
def test_no_check_takes_long_up_to_the_largest_value_that_is_taken(case: str) -> None:
    """Half a second on a quiet machine; see decision 0047."""
    schema, value = HEAVY[case]
    check_schema(schema)
    longest, taken = 0.0, 0
    for size in [int(2 ** (step / 2)) for step in range(41)]:
        spent, told = seconds(find_faults, schema, value(size))
        longest = max(longest, spent)
        if told and re.search("too many|too large|over the limit|deeper", told[0].message):
            break
        taken = size
    assert taken
    assert longest < 3


COPIED: dict[str, tuple[dict[str, Any], Any]] = {
    "what is not to be": ({"items": {"not": {"description": "x" * 40_000}}}, [1] * 5_000),
    "a long list of values": ({"items": {"enum": [f"x{m}" for m in range(7_000)]}}, ["y"] * 1_000),
    "a large value": ({"items": {"const": ["x"] * 10_000}}, ["y"] * 500),
    "itself": ({"allOf": [{"type": "integer"}] * 1_000}, "y" * 100_000),
    "each branch": ({"anyOf": [{"type": "integer"}] * 1_000}, [0] * 3_000),
    "each branch of each": (BRANCHES, chain(15)),
    "names": ({"items": {"additionalProperties": False}}, [{f"a{m}": 1 for m in range(100)}] * 1_000),
}


@pytest.mark.parametrize("case", COPIED)
def test_a_fault_that_holds_copies_of_much_is_told_soon(case: str) -> None:
    schema, value = COPIED[case]
    check_schema(schema)
    assert not conforms(schema, value)
    assert seconds(find_faults, schema, value)[0] < 1


@pytest.mark.parametrize("value", ["x" * 2**20, chain(65), [[]] * 400_000])
def test_a_value_that_is_too_large_or_too_deep_is_refused(value: Any) -> None:
    with pytest.raises(LimitExceeded, match="the output is"):
        conforms({}, value)


def test_a_schema_that_is_too_deep_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(40):
        schema = {"not": schema}
    with pytest.raises(LimitExceeded, match="deeper"):
        check_schema(schema)


def test_a_fault_below_many_branches_is_told_without_a_place() -> None:
    [fault] = find_faults(BRANCHES, chain(15))
    assert "too long to say where" in fault.message


def test_compiled_schemas_are_kept_up_to_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    checked = conformance.CheckedSchema

    def counted(schema: dict[str, Any]) -> conformance.CheckedSchema:
        made.append(schema["minimum"])
        return checked(schema)

    monkeypatch.setattr(conformance, "CheckedSchema", counted)
    kept = KeptSchemas(most=2 * len('{"minimum":1}'))
    for number in (1, 2, 1, 3, 1, 2):
        kept.get({"minimum": number}, "schema")
    assert (made, len(kept)) == ([1, 2, 3, 2], 2)
    for _ in range(2):
        assert not kept.get({"minimum": 9, "pattern": "x"}, "schema").fits(2, "it")
    assert (made[-2:], len(kept)) == ([9, 9], 0)


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
    fits = jsonschema_rs.Draft202012Validator(schema).is_valid(output)
    assert conforms(schema, output) == fits
    assert (find_faults(schema, output) == ()) == fits
