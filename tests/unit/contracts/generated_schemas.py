"""Schemas, edits of them and instances, made by hypothesis; and what a writer of a schema may send."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

# Every schema is a dict of its own: edits change them in place, and a shared one would change with the past.
Schema = dict[str, Any]
NAMES = st.sampled_from(["a", "b", "c", "kind"])
TEXTS = st.sampled_from(["", "a", "b", "ab", "abc", "0198c5b4-0000-7000-8000-000000000000", "2026-01-01"])
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-3, 9), st.sampled_from([0.5, 1.0, 2.5]), TEXTS)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "b", "c", "kind", "z"]), inner, max_size=4)
    ),
    max_leaves=6,
)
LINKS = st.sampled_from([{"$ref": "#/$defs/Tree"}, {"$ref": "#/$defs/Leaf"}])


@st.composite
def texts(draw: st.DrawFn) -> Schema:
    schema: Schema = {"type": "string"}
    for word, value in (
        ("minLength", st.integers(0, 3)),
        ("maxLength", st.integers(1, 4)),
        ("pattern", st.sampled_from(["^a", "b$", "^[ab]*$"])),
        ("format", st.sampled_from(["uuid", "date", "unheard-of"])),
    ):
        if draw(st.integers(0, 3)) == 0:
            schema[word] = draw(value)
    return schema


@st.composite
def numbers(draw: st.DrawFn) -> Schema:
    schema: Schema = {"type": draw(st.sampled_from(["integer", "number"]))}
    for word in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        if draw(st.integers(0, 3)) == 0:
            schema[word] = draw(st.integers(-2, 6))
    if draw(st.integers(0, 4)) == 0:
        schema["multipleOf"] = draw(st.sampled_from([1, 2, 3]))
    return schema


FINITE = st.one_of(
    st.lists(SCALARS, min_size=1, max_size=3, unique_by=repr).map(lambda values: {"enum": values}),
    SCALARS.map(lambda value: {"const": value}),
)
PLAIN = st.one_of(
    texts(),
    numbers(),
    FINITE,
    st.builds(lambda: {"type": "boolean"}),
    st.lists(
        st.sampled_from(["string", "integer", "null", "object", "array"]), min_size=1, max_size=3, unique=True
    ).map(lambda kinds: {"type": kinds}),
    st.builds(dict),
)


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[Schema]) -> Schema:
    properties = draw(st.dictionaries(NAMES, inner, max_size=3))
    required = draw(st.lists(NAMES, max_size=2, unique=True))
    schema: Schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    rest = draw(st.sampled_from([None, None, None, False, True, "schema"]))
    if rest is not None:
        schema["additionalProperties"] = draw(inner) if rest == "schema" else rest
    if draw(st.integers(0, 9)) == 0:
        schema["patternProperties"] = {"^[bz]": draw(inner)}
    if draw(st.integers(0, 9)) == 0:
        schema[draw(st.sampled_from(["minProperties", "maxProperties"]))] = draw(st.integers(0, 2))
    if draw(st.integers(0, 9)) == 0:
        schema["dependentRequired"] = {"a": ["b"]}
    return schema


@st.composite
def arrays(draw: st.DrawFn, inner: st.SearchStrategy[Schema]) -> Schema:
    schema: Schema = {"type": "array"}
    if draw(st.booleans()):
        schema["items"] = draw(st.one_of(inner, st.just(False)))
    if draw(st.integers(0, 3)) == 0:
        schema["prefixItems"] = draw(st.lists(inner, min_size=1, max_size=2))
    for word, value in (
        ("minItems", st.integers(0, 2)),
        ("maxItems", st.integers(0, 3)),
        ("uniqueItems", st.booleans()),
    ):
        if draw(st.integers(0, 3)) == 0:
            schema[word] = draw(value)
    if draw(st.integers(0, 9)) == 0:
        schema["contains"] = draw(inner)
    return schema


def _combined(inner: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    some = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        objects(inner),
        objects(inner),
        arrays(inner),
        some.map(lambda each: {"anyOf": each}),
        some.map(lambda each: {"oneOf": each}),
        inner.map(lambda each: {"anyOf": [each, {"type": "null"}]}),
        st.lists(objects(inner), min_size=1, max_size=2).map(lambda each: {"allOf": each}),
        st.tuples(objects(inner), some).map(lambda pair: {**pair[0], "anyOf": pair[1]}),
        st.tuples(objects(inner), inner).map(lambda pair: {**pair[0], "not": pair[1]}),
        st.tuples(objects(inner), objects(inner)).map(
            lambda pair: {"if": {"required": ["a"]}, "then": pair[0], "else": pair[1]}
        ),
    )


INNER: st.SearchStrategy[Schema] = st.recursive(st.one_of(PLAIN, PLAIN, LINKS), _combined, max_leaves=6)


@st.composite
def documents(draw: st.DrawFn) -> Schema:
    """A schema with definitions, one of which refers to itself."""
    tree = draw(objects(st.one_of(PLAIN, LINKS, LINKS.map(lambda link: {"type": "array", "items": link}))))
    return {**draw(INNER), "$defs": {"Tree": tree, "Leaf": draw(st.one_of(PLAIN, objects(PLAIN)))}}


def _places(schema: Any) -> list[Schema]:
    """Every schema inside a schema that can be edited."""
    if isinstance(schema, list):
        return [place for each in schema for place in _places(each)]
    if not isinstance(schema, dict):
        return []
    inner = [
        *(each for word in ("properties", "patternProperties", "$defs") for each in schema.get(word, {}).values()),
        *(
            schema[word]
            for word in ("items", "additionalProperties", "contains", "not", "then", "else")
            if word in schema
        ),
        *(each for word in ("anyOf", "oneOf", "allOf", "prefixItems") for each in schema.get(word, ())),
    ]
    own = [] if "$ref" in schema else [schema]
    return [*own, *(place for each in inner for place in _places(each))]


@st.composite
def edited(draw: st.DrawFn, schema: Schema) -> Schema:
    """`schema` after one to three small edits, as people make them."""
    changed = copy.deepcopy(schema)
    for _ in range(draw(st.integers(1, 3))):
        places = _places(changed)
        if places:
            _edit(draw, draw(st.sampled_from(places)))
    return changed


def _edit(draw: st.DrawFn, place: Schema) -> None:
    edit = draw(st.sampled_from(["drop", "put", "field", "require", "null", "close", "whole", "value"]))
    words = sorted(place.keys() - {"$defs"})
    if edit == "drop" and words:
        place.pop(draw(st.sampled_from(words)))
    elif edit == "put":
        place.update(draw(st.one_of(texts(), numbers())))
    elif edit == "field":
        place.setdefault("properties", {})[draw(NAMES)] = draw(PLAIN)
    elif edit == "require":
        required = set(place.get("required", ())) ^ {draw(NAMES)}
        place["required"] = sorted(required)
    elif edit == "null" and isinstance(place.get("type"), str):
        place["type"] = sorted({place["type"], "null"})
    elif edit == "close":
        place["additionalProperties"] = draw(st.sampled_from([False, True]))
    elif edit == "value" and "enum" in place:
        place["enum"] = [*place["enum"][draw(st.integers(0, 1)) :], draw(TEXTS)]
    else:
        kept = {**draw(PLAIN), **({"$defs": place["$defs"]} if "$defs" in place else {})}
        place.clear()
        place.update(kept)


def sample(draw: st.DrawFn, schema: Any, root: Schema, depth: int = 0) -> Any:
    """A value that is likely, not certain, to be valid."""
    if not isinstance(schema, dict) or depth > 6:
        return draw(SCALARS)
    if "$ref" in schema:
        return sample(draw, root["$defs"][schema["$ref"].rpartition("/")[2]], root, depth + 1)
    for word in ("anyOf", "oneOf", "allOf"):
        if schema.get(word):
            value = sample(draw, draw(st.sampled_from(schema[word])), root, depth + 1)
            more = sample(draw, {**schema, word: None}, root, depth + 1) if "properties" in schema else None
            return {**more, **value} if isinstance(value, dict) and isinstance(more, dict) else value
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return draw(st.sampled_from(schema["enum"]))
    if branches := [word for word in ("then", "else") if word in schema]:  # an edit may have taken one away
        return sample(draw, schema[draw(st.sampled_from(branches))], root, depth + 1)
    kind = schema.get("type")
    kind = draw(st.sampled_from(kind)) if isinstance(kind, list) else kind
    if kind == "object" or "properties" in schema:
        return _sample_object(draw, schema, root, depth)
    if kind == "array":
        first = [sample(draw, each, root, depth + 1) for each in schema.get("prefixItems", ())]
        items = schema.get("items", {})
        return first + [sample(draw, items, root, depth + 1) for _ in range(draw(st.integers(0, 3)))]
    plain = {"string": TEXTS, "integer": st.integers(-3, 9), "boolean": st.booleans(), "null": st.none()}
    return draw(plain.get(str(kind), VALUES if kind is None else st.one_of(st.integers(-3, 9), st.just(2.5))))


def _sample_object(draw: st.DrawFn, schema: Schema, root: Schema, depth: int) -> dict[str, Any]:
    made = {}
    required = schema.get("required", ())
    for name, each in schema.get("properties", {}).items():
        if name in required or draw(st.booleans()):
            made[name] = sample(draw, each, root, depth + 1)
    for name in required:
        if name not in made:
            made[name] = draw(VALUES)
    if schema.get("additionalProperties") or draw(st.integers(0, 3)) == 0:
        made[draw(st.sampled_from(["a", "z"]))] = sample(draw, schema.get("additionalProperties"), root, depth + 1)
    return made


def declared(schema: Schema) -> Schema:
    """The schema of what a writer of `schema` sends: nothing that it does not speak of.

    A schema that lists fields and leaves others open declares the listed and the required ones. A union sends one of
    its variants. Written a second time here, so that the code under test is not its own judge.
    """
    definitions = {}
    for name, each in schema["$defs"].items():
        definitions[name] = _part(each, schema)
        definitions[f"{name}!"] = _whole(each, schema)
    whole = _whole({word: value for word, value in schema.items() if word != "$defs"}, schema)
    return {"allOf": [whole], "$defs": definitions}


def _whole(schema: Any, root: Schema) -> Any:
    if not isinstance(schema, dict):
        return schema
    if set(schema) == {"$ref"}:
        return {"$ref": schema["$ref"] + "!"}
    for word in ("anyOf", "oneOf"):
        if set(schema) == {word}:
            return {word: [_whole(each, root) for each in schema[word]]}
    words = _words_in_place(schema, root, frozenset())
    closed = "properties" in words and "if" not in words
    return {**_part(schema, root), **({"unevaluatedProperties": False} if closed else {})}


def _part(schema: Any, root: Schema) -> Any:
    if not isinstance(schema, dict):
        return schema
    made: Schema = {}
    for word, value in schema.items():
        if word in ("properties", "patternProperties"):
            made[word] = {name: _whole(each, root) for name, each in value.items()}
        elif word in ("items", "additionalProperties", "contains"):
            made[word] = _whole(value, root)
        elif word == "prefixItems":
            made[word] = [_whole(each, root) for each in value]
        elif word in ("anyOf", "oneOf", "allOf"):
            made[word] = [_part(each, root) for each in value]
        elif word in ("not", "if", "then", "else"):
            made[word] = _part(value, root)
        else:
            made[word] = value
    if "properties" in made and "additionalProperties" not in made:
        made["properties"] = {**dict.fromkeys(made.get("required", ()), True), **made["properties"]}
    return made


def _words_in_place(schema: Any, root: Schema, seen: frozenset[str]) -> set[str]:
    if not isinstance(schema, dict):
        return set()
    words = set(schema)
    for word in ("anyOf", "oneOf", "allOf"):
        for each in schema.get(word, ()):
            words |= _words_in_place(each, root, seen)
    for word in ("then", "else"):
        words |= _words_in_place(schema.get(word), root, seen)
    pointer = schema.get("$ref")
    if pointer and pointer not in seen:
        words |= _words_in_place(root["$defs"][pointer.rpartition("/")[2]], root, seen | {pointer})
    return words
