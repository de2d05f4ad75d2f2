"""Whether an output is what its schema says: JSON Schema 2020-12, within bounds.

A schema refers to itself only: nothing is fetched. Patterns are matched in linear time, so they know no lookaround and
no back-references. `format` is a note to the reader and is not checked, as 2020-12 has it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jsonschema_rs
import orjson

from datalane.agents.schema_work import SchemaWork
from datalane.errors import InvalidInput, LimitExceeded
from datalane.kit.jsonlimits import encode_within

MOST_SCHEMA_BYTES = 64 * 1024
SCHEMA_DEPTH = 32
MOST_OUTPUT_BYTES = 1024 * 1024
OUTPUT_DEPTH = 64
_DIALECT = re.compile(r"https://json-schema\.org/draft/2020-12/schema#?")
_MOST_PATTERNS = 100
_REGEX = jsonschema_rs.RegexOptions(size_limit=2 * 1024 * 1024)
_MOST_STEPS = 100_000_000
"""Some tens of nanoseconds each: a second or two at the very worst."""
_MOST_STEPS_TO_EXPLAIN = 50_000
_MOST_BYTES_TO_EXPLAIN = 100_000_000
"""An explanation takes much longer than a no: it holds a copy of what is wrong for each step into a branch."""
_SHOWN_FAULTS = 10
_SHOWN_CHARACTERS = 200
_SHOWN_OF_VALUE = 60

Fault = dict[str, str]
"""`field`, a path into the output, and `message`."""
_UNEXPLAINED = {"field": "output", "message": "it does not match the schema; it would take too long to say where"}


class CheckedSchema:
    """A schema that can be checked by. Raises as `check_schema`."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        _check_words(schema)
        try:
            self._validator = jsonschema_rs.Draft202012Validator(
                dict(schema), offline=True, pattern_options=_REGEX, validate_formats=False
            )
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
            raise InvalidInput(f"not a JSON Schema 2020-12: {_reason(error)}") from error
        self._work = SchemaWork(schema)

    def faults(self, output: Any) -> list[Fault]:
        """Where the output is not what the schema says, at most 10 places; none where it is.

        Raises `LimitExceeded` past 1 MiB, 64 levels, or the work that one check may be, and `InvalidInput` for what is
        not JSON.
        """
        size = len(encode_within(output, "the output", MOST_OUTPUT_BYTES, OUTPUT_DEPTH))
        if self._work.whole is None or self._work.whole * (1 + size) > _MOST_STEPS:
            steps = self._work.steps(output).all
            if steps > _MOST_STEPS:
                raise LimitExceeded(f"checking the output by this schema takes up to {steps:,} steps, too many")
        return [] if self._validator.is_valid(output) else self._explained(output, size)

    def _explained(self, output: Any, size: int) -> list[Fault]:
        """All that is wrong where that is soon said, else the first of it, else that something is."""
        try:
            steps = self._work.steps(output)
        except LimitExceeded:
            return [_UNEXPLAINED]
        if _is_soon_said(steps.all, size):
            found = zip(self._validator.iter_errors(output), range(_SHOWN_FAULTS), strict=False)
            return [_told(fault) for fault, _ in found]
        if not _is_soon_said(steps.branching, size):
            return [_UNEXPLAINED]
        try:
            self._validator.validate(output)
        except jsonschema_rs.ValidationError as fault:
            return [_told(fault)]
        raise AssertionError("an output that is not valid has a fault")


def check_schema(schema: Mapping[str, Any], field: str = "schema") -> None:
    """Whether outputs can be checked by it.

    Raises `InvalidInput` naming `field` for what is no JSON Schema 2020-12 and for references beyond itself,
    `LimitExceeded` past 64 KiB, 32 levels, 100 patterns, or where it is too entangled.
    """
    text = encode_within(schema, field, MOST_SCHEMA_BYTES, SCHEMA_DEPTH)
    try:
        _compiled(text)
    except InvalidInput as error:
        message = str(error)
        raise InvalidInput(f"{field}: {message}", [{"field": field, "message": message, "code": "schema"}]) from error
    except LimitExceeded as error:
        raise LimitExceeded(f"{field}: {error}") from error


def conforms(schema: Mapping[str, Any], output: Any) -> tuple[bool, list[Fault]]:
    """Whether the output is what the schema says, and if not where, at most 10 places.

    Raises as `check_schema` and `CheckedSchema.faults`. Large outputs take up to a second or two of the processor.
    """
    faults = _compiled(encode_within(schema, "the schema", MOST_SCHEMA_BYTES, SCHEMA_DEPTH)).faults(output)
    return not faults, faults


@lru_cache(maxsize=64)
def _compiled(text: str) -> CheckedSchema:
    return CheckedSchema(orjson.loads(text))


def _check_words(schema: Mapping[str, Any]) -> None:
    """What the standard allows and is not taken: other dialects, other bases, references by name."""
    if not isinstance(schema, Mapping):
        raise InvalidInput("must be an object")
    dialect = schema.get("$schema")
    if dialect is not None and not (isinstance(dialect, str) and _DIALECT.fullmatch(dialect)):
        raise InvalidInput("$schema must be https://json-schema.org/draft/2020-12/schema")
    patterns, waiting = 0, list[Any]([schema])
    while waiting:
        at = waiting.pop()
        if isinstance(at, list):
            waiting += at
        if not isinstance(at, dict):
            continue
        waiting += at.values()
        patterns += isinstance(at.get("pattern"), str)
        patterns += len(at["patternProperties"]) if isinstance(at.get("patternProperties"), dict) else 0
        for word in ("$dynamicRef", "$recursiveRef", *(("$id", "$schema") if at is not schema else ())):
            if isinstance(at.get(word), str):
                raise InvalidInput(f"{word} is not taken here: a schema is one document that refers to itself by $ref")
        reference = at.get("$ref")
        if isinstance(reference, str) and reference != "#" and not reference.startswith("#/"):
            raise InvalidInput(f"the reference {_shortened(reference)!r} leads beyond the schema; nothing is fetched")
    if patterns > _MOST_PATTERNS:
        raise LimitExceeded(f"it has {patterns} patterns, the limit is {_MOST_PATTERNS}")


def _reason(error: Exception) -> str:
    if isinstance(error, jsonschema_rs.ValidationError):
        place = "/".join(str(step) for step in error.instance_path)
        return f"{_shortened(error.message)}{f' (at {_shortened(place)})' if place else ''}"
    return _shortened(str(error))


def _is_soon_said(steps: int, size: int) -> bool:
    return steps <= _MOST_STEPS_TO_EXPLAIN and steps * size <= _MOST_BYTES_TO_EXPLAIN


def _told(fault: jsonschema_rs.ValidationError) -> Fault:
    place = "/".join(str(step) for step in fault.instance_path)
    message, value = fault.message, orjson.dumps(fault.instance).decode()
    if len(message) > _SHOWN_CHARACTERS and message.startswith(value):  # what is wrong comes behind the value
        message = f"{value[:_SHOWN_OF_VALUE]}…{message[len(value) :]}"
    return {"field": _shortened(place) or "output", "message": _shortened(message)}


def _shortened(message: str) -> str:
    """It holds the value that is wrong, however large."""
    return message if len(message) <= _SHOWN_CHARACTERS else f"{message[:_SHOWN_CHARACTERS]}…"
