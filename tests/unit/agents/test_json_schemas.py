"""Schemas that workspaces write: what is none, what reaches outside, and what would cost too much is refused."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from typing import Any

import pytest

from datalane.agents.tools import json_schemas
from datalane.agents.tools.json_schemas import DIALECT, CompiledSchema, Validators, compile_schema, find_faults
from datalane.errors import InvalidInput, LimitExceeded
from datalane.settings import Limits

LIMITS = Limits()
PERSON: dict[str, Any] = {
    "$schema": DIALECT,
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": r"^\w+$", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0},
        "home": {"$ref": "#/$defs/place"},
        "work": {"$ref": "#/$defs/place"},
    },
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"place": {"type": "object", "properties": {"town": {"type": "string"}}}},
}


def compiled(schema: dict[str, Any]) -> CompiledSchema:
    return compile_schema(schema, "schema", LIMITS)


def doubling(levels: int, keyword: str = "allOf") -> dict[str, Any]:
    """Small, and 2^levels subschemas with its references written out."""
    pairs = {f"d{n}": {keyword: [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**pairs, f"d{levels}": {"type": "object"}}}


def asked_again(levels: int, keyword: str) -> dict[str, Any]:
    """What is unevaluated is asked at each level, of all that is below it."""
    below = {f"d{n}": {keyword: [{"$ref": f"#/$defs/d{n + 1}"}], "unevaluatedProperties": False} for n in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**below, f"d{levels}": {"properties": {"x": {}}}}}


def chain(links: Iterable[int]) -> dict[str, Any]:
    return {"$defs": {**{f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in links}, "d500": {}}}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"not": schema}
    return schema


def test_values_are_checked_and_what_is_wrong_is_named() -> None:
    validator = compiled(PERSON)
    assert find_faults(validator, {"name": "Ada", "age": 36, "home": {"town": "London"}}, "it", LIMITS) == ()
    faults = find_faults(validator, {"age": -1, "home": {"town": 7}, "hat": "x" * 2_000}, "it", LIMITS)
    assert {fault.field for fault in faults} == {"", "age", "home/town"}
    assert all(len(fault.message) <= 201 for fault in faults)


def test_no_more_than_ten_faults_are_told() -> None:
    validator = compiled({"type": "object", "additionalProperties": {"type": "integer"}})
    assert len(find_faults(validator, {str(n): "x" for n in range(5_000)}, "it", LIMITS)) == 10


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "objekt"}, "is no JSON Schema"),
        ({"properties": 5}, "is no JSON Schema"),
        ({"properties": {"a": 5}}, "is no JSON Schema"),
        ({"required": ["a", "a"]}, "is no JSON Schema"),
        ({"minimum": "a"}, "is no JSON Schema"),
        ({"pattern": "("}, "is no JSON Schema"),
        ({"patternProperties": {"(": {}}}, "is no JSON Schema"),
        ({"pattern": r"^(?=a)b$"}, "is no JSON Schema"),
        ({"pattern": r"(a)\1"}, "is no JSON Schema"),
        ({"pattern": "a{1000}{1000}"}, "is no JSON Schema"),
        ({"pattern": r"(\p{L}{50}){50}"}, "is no JSON Schema"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "2020-12"),
        ({"$schema": "http://127.0.0.1:9/mine"}, "2020-12"),
        ({"$schema": 5}, "2020-12"),
        ({"$ref": "http://127.0.0.1:9/x"}, "nothing is fetched"),
        ({"$ref": "file:///etc/passwd"}, "nothing is fetched"),
        ({"$ref": "other.json"}, "nothing is fetched"),
        ({"$ref": "#name", "$defs": {"a": {"$anchor": "name"}}}, "nothing is fetched"),
        ({"$ref": 5}, "nothing is fetched"),
        ({"$id": "http://127.0.0.1:9/a", "properties": {"x": {"$ref": "b"}}}, "nothing is fetched"),
        ({"$defs": {"a": {"$ref": "http://127.0.0.1:9/x"}}}, "nothing is fetched"),
        ({"$defs": {"a": {"$id": "http://127.0.0.1:9/a"}}}, r"\$id only at its top"),
        ({"$dynamicRef": "#x"}, r"by \$ref alone"),
        ({"$ref": "#/$defs/gone"}, "not there"),
        ({"allOf": [], "$ref": "#/allOf/7"}, "not there"),
        ({"$ref": "#"}, "circle"),
        ({"allOf": [{"$ref": "#"}]}, "circle"),
        ({"properties": {"next": {"$ref": "#"}}}, "circle"),
        ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"items": {"$ref": "#/$defs/a"}}}}, "circle"),
        ({"then": {"$ref": "#/x"}, "x": {"not": {"$ref": "#/x"}}}, "circle"),
        (doubling(30), "costs too much"),
        (doubling(30, "anyOf"), "costs too much"),
        (doubling(40, "oneOf"), "costs too much"),
        (asked_again(20, "allOf"), "costs too much"),
        (asked_again(20, "oneOf"), "costs too much"),
        ({"enum": list(range(9_000))}, "costs too much"),
        ({"const": "x" * 40_000}, "costs too much"),
        ({"required": [f"name {n}" for n in range(5_000)]}, "costs too much"),
        ({"not": {"description": "x" * 40_000}}, "costs too much"),
        ({"$defs": {"a": {"enum": list(range(1_000))}}, "allOf": [{"$ref": "#/$defs/a"}] * 10}, "costs too much"),
        ({"allOf": [{"pattern": f"(a|b)*a(a|b){{100}}{n}"} for n in range(90)]}, "costs too much"),
        ({"patternProperties": {f"^{n}": {} for n in range(2_000)}}, "costs too much"),
        (chain(range(500)), "deep"),
        ({"$ref": "#/$defs/d0", **chain(range(500))}, "deep"),
        (chain(reversed(range(500))), "deep"),
    ],
)
def test_what_is_none_reaches_outside_or_costs_too_much_is_refused(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as refused:
        compiled(schema)
    [fault] = refused.value.errors
    assert fault["field"].startswith("schema")
    assert len(str(refused.value)) < 1_000


@pytest.mark.parametrize(
    "schema",
    [
        {"const": {"$ref": "http://127.0.0.1:9/x"}},
        {"enum": [{"$ref": "#"}], "default": {"$dynamicRef": "x"}},
        {"properties": {"$ref": {"type": "string"}, "$id": {"type": "string"}, "pattern": {}}},
        {"$id": "https://example.com/tool", "properties": {"a": {"$ref": "#/$defs/a%20b"}}, "$defs": {"a b": {}}},
        {"$ref": "#/$defs/a~1b~0c", "$defs": {"a/b~c": True}},
        {"properties": {str(n): {"type": "string"} for n in range(1_000)}},
        {"pattern": "(a+)+$"},
    ],
)
def test_what_only_looks_like_it_is_taken(schema: dict[str, Any]) -> None:
    compiled(schema)


@pytest.mark.parametrize(
    "schema", [{"description": "x" * 1_000_000}, {"enum": list(range(100_000))}, nested(33), {"const": nested(40)}]
)
def test_a_schema_that_is_too_large_or_too_deep_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(LimitExceeded, match="schema is"):
        compiled(schema)


@pytest.mark.parametrize("schema", [{"a\x00b": 1}, {"const": "\ud800"}, {"minimum": float("nan")}, {"maximum": 2**70}])
def test_what_cannot_be_stored_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        compiled(schema)


@pytest.mark.parametrize("value", [{"a": "x" * 70_000}, {"a": [[[]]] * 30_000}, {"const": nested(40)}, {"a": "\x00"}])
def test_a_value_that_is_too_large_or_too_deep_is_a_fault(value: Any) -> None:
    [fault] = find_faults(compiled({"type": "object"}), value, "the arguments", LIMITS)
    assert fault.message.startswith("the arguments")


def a_or_b(length: int) -> str:
    return "".join(random.Random(1).choices("ab", k=length))


def of(schema: dict[str, Any]) -> dict[str, Any]:
    return {"properties": {"a": schema}}


HEAVY = {
    "nested plus": (of({"pattern": "(a+)+$"}), "a" * 60_000 + "!"),
    "many ways to end": (of({"pattern": "[ab]*a[ab]{250}[^ab]"}), a_or_b(60_000)),
    "a large pattern": (of({"pattern": "a(a|b){300}c|b(a|b){299}d|(a|b){400}e"}), a_or_b(5_000)),
    "a large pattern of much": (of({"pattern": "a(a|b){300}c|b(a|b){299}d|(a|b){400}e"}), a_or_b(60_000)),
    "many subschemas": (of({"items": {"allOf": [{"type": "object"}] * 1_900}}), [{}] * 1_600),
    "many subschemas of much": (of({"items": {"allOf": [{"type": "object"}] * 1_900}}), [{}] * 20_000),
    "many alternatives": (
        of({"items": {"anyOf": [{"type": "string", "minLength": n} for n in range(900)]}}),
        [1] * 5_000,
    ),
    "many values": (of({"items": {"enum": list(range(2_000))}}), [{}] * 7_000),
    "many names": (of({"items": {"required": [f"n{n}" for n in range(2_000)]}}), [{}] * 4_000),
    "no two alike": (of({"uniqueItems": True}), [{"x": n} for n in range(6_000)]),
    "asked again": (asked_again(5, "oneOf"), "a" * 10_000),
}


@pytest.mark.parametrize("case", HEAVY)
def test_no_schema_that_is_taken_makes_a_check_long(case: str) -> None:
    schema, value = HEAVY[case]
    validator = compiled(schema)
    before = time.process_time()
    find_faults(validator, {"a": value}, "the arguments", LIMITS)
    assert time.process_time() - before < 1


def test_of_many_faults_in_much_it_is_only_told_that_there_are_some() -> None:
    validator = compiled(of({"items": {"enum": list(range(1_000))}}))
    [fault] = find_faults(validator, {"a": [{}] * 1_000}, "the arguments", LIMITS)
    assert "too large to say where" in fault.message
    assert find_faults(validator, {"a": [7] * 1_000}, "the arguments", LIMITS) == ()
    assert [fault.field for fault in find_faults(validator, {"a": [7, {}]}, "the arguments", LIMITS)] == ["a/1"]


def test_what_would_take_too_long_is_a_fault_whether_it_fits_or_not() -> None:
    schema, value = HEAVY["many subschemas of much"]
    [fault] = find_faults(compiled(schema), {"a": value}, "the arguments", LIMITS)
    assert "too large for what their schema costs to check" in fault.message


def test_compiled_schemas_are_kept_up_to_a_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    compile_ = json_schemas.compile_schema

    def counted(schema: Any, name: str, limits: Limits) -> CompiledSchema:
        made.append(schema["minimum"])
        return compile_(schema, name, limits)

    monkeypatch.setattr(json_schemas, "compile_schema", counted)
    kept = Validators(most=2)
    for number in (1, 2, 1, 3, 1, 2):
        kept.get(number, {"minimum": number}, "schema", LIMITS)
    assert (made, len(kept)) == ([1, 2, 3, 2], 2)
    heavy = {"minimum": 9, "enum": list(range(100))}
    for _ in range(2):
        assert not kept.get(9, heavy, "schema", LIMITS).validator.is_valid(2)
    assert (made[-2:], len(kept)) == ([9, 9], 0)
