"""Each kind of change, and whom it breaks: requests, responses, events."""

from __future__ import annotations

from typing import Any

import pytest

from datalane.contracts.compatibility import Direction, compare

TEXT, WHOLE, NUMBER, NULL = {"type": "string"}, {"type": "integer"}, {"type": "number"}, {"type": "null"}
UUID_TEXT, DATE = {"type": "string", "format": "uuid"}, {"type": "string", "format": "date"}
ALL, NONE = "request response event", ""
LESS, MORE = "request event", "response event"
"""Who is broken by accepting less, and by promising less."""


def thing(*required: str, rest: Any = None, **fields: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": fields, "required": list(required)}
    return schema if rest is None else {**schema, "additionalProperties": rest}


def maybe(schema: Any) -> Any:
    return {"anyOf": [schema, NULL]}


def a(schema: Any) -> dict[str, Any]:
    """An object whose field `a` is of `schema`."""
    return thing(a=schema)


def variants(*kinds: str) -> dict[str, Any]:
    return {"oneOf": [thing("kind", kind={"const": kind}) for kind in kinds]}


def tree(value: Any) -> dict[str, Any]:
    return {"$ref": "#/$defs/T", "$defs": {"T": thing(next={"$ref": "#/$defs/T"}, value=value)}}


CASES: dict[str, tuple[Any, Any, dict[str, str]]] = {
    # fields
    "an optional field comes": (thing(a=TEXT), thing(a=TEXT, b=TEXT), {"$.b field_added": NONE}),
    "a required field comes": (thing(a=TEXT), thing("b", a=TEXT, b=TEXT), {"$.b required_field_added": LESS}),
    "a field comes where others were refused": (
        thing(a=TEXT, rest=False),
        thing(a=TEXT, b=TEXT, rest=False),
        {"$.b field_added": MORE},
    ),
    "a field goes": (thing(a=TEXT, b=TEXT), thing(a=TEXT), {"$.b field_removed": ALL}),
    "a required field goes": (thing("b", b=TEXT), thing(), {"$.b field_removed": ALL}),
    "a field goes where others are refused": (thing(b=TEXT, rest=False), thing(rest=False), {"$.b field_removed": ALL}),
    "a field is renamed": (thing("b", b=WHOLE), thing("c", c=WHOLE), {"$.b field_renamed": ALL}),
    "optional becomes required": (thing(a=TEXT), thing("a", a=TEXT), {"$.a became_required": LESS}),
    "required becomes optional": (thing("a", a=TEXT), thing(a=TEXT), {"$.a became_optional": MORE}),
    # types
    "another type": (a(TEXT), a(WHOLE), {"$.a type_changed": ALL}),
    "one type more": (a(TEXT), a({"type": ["string", "integer"]}), {"$.a type_widened": MORE}),
    "one type fewer": (a({"type": ["string", "integer"]}), a(TEXT), {"$.a type_narrowed": LESS}),
    "integer becomes number": (a(WHOLE), a(NUMBER), {"$.a type_widened": MORE}),
    "number becomes integer": (a(NUMBER), a(WHOLE), {"$.a type_narrowed": LESS}),
    "boolean becomes text": (a({"type": "boolean"}), a(TEXT), {"$.a type_changed": ALL}),
    "null is allowed": (a(TEXT), a(maybe(TEXT)), {"$.a newly_nullable": MORE}),
    "null is allowed, as a list of types": (a(TEXT), a({"type": ["string", "null"]}), {"$.a newly_nullable": MORE}),
    "null is refused": (a(maybe(TEXT)), a(TEXT), {"$.a no_longer_nullable": LESS}),
    "null said another way": (a(maybe(TEXT)), a({"type": ["string", "null"]}), {}),
    # values
    "a value comes": (a({"enum": ["x"]}), a({"enum": ["x", "y"]}), {"$.a enum_widened": MORE}),
    "a value goes": (a({"enum": ["x", "y"]}), a({"enum": ["x"]}), {"$.a enum_narrowed": LESS}),
    "a value is replaced": (
        a({"enum": ["x", "y"]}),
        a({"enum": ["x", "z"]}),
        {"$.a enum_narrowed": LESS, "$.a enum_widened": MORE},
    ),
    "a value of a nullable enum goes": (
        a(maybe({"enum": ["x", "y"]})),
        a(maybe({"enum": ["x"]})),
        {"$.a enum_narrowed": LESS},
    ),
    "values in another order": (a({"enum": ["x", "y"]}), a({"enum": ["y", "x"]}), {}),
    "another constant": (
        a({"const": "x"}),
        a({"const": "y"}),
        {"$.a enum_narrowed": LESS, "$.a enum_widened": MORE},
    ),
    "a constant becomes an enum of one": (a({"const": "x"}), a({"enum": ["x"]}), {}),
    "text becomes an enum": (a(TEXT), a({"type": "string", "enum": ["x"]}), {"$.a enum_narrowed": LESS}),
    # formats, patterns and bounds
    "a format comes": (a(TEXT), a(UUID_TEXT), {"$.a format_narrowed": LESS}),
    "a format goes": (a(UUID_TEXT), a(TEXT), {"$.a format_widened": MORE}),
    "another format": (a(DATE), a(UUID_TEXT), {"$.a format_changed": ALL}),
    "another pattern": (a({**TEXT, "pattern": "^x"}), a({**TEXT, "pattern": "^y"}), {"$.a pattern_changed": ALL}),
    "a shorter text": (a({**TEXT, "maxLength": 5}), a({**TEXT, "maxLength": 4}), {"$.a max_length_narrowed": LESS}),
    "a higher maximum": (a({**WHOLE, "maximum": 5}), a({**WHOLE, "maximum": 6}), {"$.a maximum_widened": MORE}),
    "a minimum said another way": (a({**WHOLE, "minimum": 1}), a({**WHOLE, "exclusiveMinimum": 0}), {}),
    # other fields
    "others are refused": (thing(a=TEXT), thing(a=TEXT, rest=False), {"$ other_fields_refused": LESS}),
    "others are no longer refused": (thing(a=TEXT, rest=False), thing(a=TEXT), {"$ other_fields_allowed": MORE}),
    "what was open by its word is closed": (
        thing(a=TEXT, rest=True),
        thing(a=TEXT, rest=False),
        {"$ additional_properties_narrowed": LESS},
    ),
    "a field comes where any was welcome by its word": (
        thing(rest=True),
        thing(b=TEXT, rest=True),
        {"$.b field_added": NONE, "$.b type_narrowed": LESS},
    ),
    "other values in a map": (thing(rest=TEXT), thing(rest=WHOLE), {"$.* type_changed": ALL}),
    # nesting
    "inside items": (
        a({"type": "array", "items": thing(b=WHOLE)}),
        a({"type": "array", "items": thing(b=NUMBER)}),
        {"$.a[].b type_widened": MORE},
    ),
    "fewer items": (
        a({"type": "array", "maxItems": 5}),
        a({"type": "array", "maxItems": 4}),
        {"$.a max_items_narrowed": LESS},
    ),
    "behind a reference that leads to itself": (tree(WHOLE), tree(NUMBER), {"$.value type_widened": MORE}),
    "a variant comes": (variants("x", "y"), variants("x", "y", "z"), {"$.kind enum_widened": MORE}),
    "split over allOf": ({"allOf": [thing(a=TEXT), thing(b=TEXT)]}, thing(a=TEXT, b=TEXT), {}),
    "a field goes from a part of allOf": (
        {"allOf": [thing(a=TEXT), thing(b=TEXT)]},
        {"allOf": [thing(a=TEXT)]},
        {"$.b field_removed": ALL},
    ),
    # what breaks nobody
    "another default": (a({**WHOLE, "default": 1}), a({**WHOLE, "default": 2}), {"$.a default_changed": NONE}),
    "deprecated": (a(TEXT), a({**TEXT, "deprecated": True}), {"$.a deprecated": NONE}),
    "another description": (a({**TEXT, "description": "x"}), a({**TEXT, "description": "y"}), {}),
    # free objects
    "a free object requires more": (
        {"type": "object", "required": ["a"]},
        {"type": "object", "required": ["a", "b"]},
        {"$.b became_required": LESS},
    ),
}


@pytest.mark.parametrize(("old", "new", "expected"), CASES.values(), ids=CASES.keys())
def test_a_change_is_named_and_breaks_whom_it_breaks(old: Any, new: Any, expected: dict[str, str]) -> None:
    found = {direction: compare(old, new, direction) for direction in Direction}
    told: dict[str, list[str]] = {}
    for direction in Direction:
        for each in found[direction]:
            broken = told.setdefault(f"{each.path} {each.kind}", [])
            broken += [direction.value] if each.breaking else []
    assert {place: " ".join(broken) for place, broken in told.items()} == expected


@pytest.mark.parametrize(
    "keyword",
    [{"not": {"required": ["b"]}}, {"if": {"required": ["b"]}, "then": {"required": ["c"]}}, {"propertyNames": TEXT}],
    ids=["not", "if", "propertyNames"],
)
def test_a_keyword_that_has_no_field_is_compared_too(keyword: dict[str, Any]) -> None:
    stricter = {**a(TEXT), **keyword, "minProperties": 1}
    assert [each.breaking for each in compare(a(TEXT), stricter, Direction.REQUEST)].count(True) >= 1
    assert compare(stricter, dict(stricter), Direction.EVENT) == []


def test_what_cannot_be_resolved_is_breaking_unless_it_is_the_same() -> None:
    here, there = a({"$ref": "https://example.com/a.json"}), a({"$ref": "https://example.com/b.json"})
    assert compare(here, here, Direction.EVENT) == []
    assert [each.path for each in compare(here, there, Direction.REQUEST) if each.breaking] == ["$.a"]


def test_a_fingerprint_names_exactly_one_difference() -> None:
    def fingerprint(most: int) -> str:
        (found,) = compare(a({**WHOLE, "maximum": 9}), a({**WHOLE, "maximum": most}), Direction.REQUEST)
        return found.fingerprint

    assert fingerprint(5) == fingerprint(5)
    assert fingerprint(5) != fingerprint(4)
