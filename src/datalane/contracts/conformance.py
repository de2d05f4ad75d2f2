"""Whether a value is what its schema says: JSON Schema 2020-12, within bounds.

Members and admins write schemas, and values are checked by them in the processes that serve everybody. So a schema
refers to itself only and nothing is fetched; what a check may cost is counted before it is done (`schema_work`).
Patterns are matched in linear time, so they know no lookaround and no back-references. `format` is a note to the reader
and is not checked, as 2020-12 has it.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from threading import Lock
from typing import Any

import jsonschema_rs
import orjson

from datalane.contracts.schema_work import SchemaWork, Steps, pattern_options
from datalane.errors import InvalidInput, LimitExceeded
from datalane.kit.jsonlimits import encode_within

MOST_SCHEMA_BYTES = 64 * 1024
SCHEMA_DEPTH = 32
MOST_VALUE_BYTES = 1024 * 1024
VALUE_DEPTH = 64
_DIALECT = re.compile(r"https://json-schema\.org/draft/2020-12/schema#?")
_MOST_STEPS = 10_000_000
"""Up to 30 ns each."""
_MOST_STEPS_TO_EXPLAIN = 20_000
_MOST_BYTES_TO_EXPLAIN = 50_000_000
"""An explanation takes much longer than a no: all faults are made at once, each with a copy of what is wrong."""
_SHOWN_FAULTS = 10
_SHOWN_CHARACTERS = 200
_SHOWN_OF_VALUE = 60
_MOST_KEPT = 1024 * 1024
_PATTERN_KEPT = 4 * 1024


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a value; `field` is the path to it, empty for all of it, and `keyword` the one of the schema
    that says so, empty where no single one does."""

    field: str
    message: str
    keyword: str = dataclass_field(default="", compare=False)


_UNEXPLAINED = Fault("", "it does not match the schema; it would take too long to say where")


class CheckedSchema:
    """A schema that can be checked by. Raises as `check_schema`."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        dialect = schema.get("$schema")
        if dialect is not None and not (isinstance(dialect, str) and _DIALECT.fullmatch(dialect)):
            raise InvalidInput("$schema must be https://json-schema.org/draft/2020-12/schema")
        try:
            self._work = SchemaWork(schema)
            self._validator = jsonschema_rs.Draft202012Validator(
                dict(schema), offline=True, pattern_options=pattern_options(), validate_formats=False
            )
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
            raise InvalidInput(f"not a JSON Schema 2020-12: {_reason(error)}") from error

    @property
    def patterns(self) -> int:
        return len(self._work.patterns)

    def fits(self, value: Any, name: str) -> bool:
        """Raises as `conforms`."""
        return self.fits_read(*_read(value, name), name)

    def fits_read(self, value: Any, size: int, name: str) -> bool:
        """As `fits`, of a value that was read from `size` bytes of JSON within the limits."""
        self._count(value, size, name)
        return self._validator.is_valid(value)

    def faults(self, value: Any, name: str) -> tuple[Fault, ...]:
        """As `find_faults`. Raises as `conforms`."""
        read, size = _read(value, name)
        counted = self._count(read, size, name)
        return () if self._validator.is_valid(read) else self._explained(read, size, counted)

    def _count(self, value: Any, size: int, name: str) -> Steps | None:
        """None where the size alone says that there are not too many."""
        if self._work.whole is not None and self._work.whole * (1 + size) <= _MOST_STEPS:
            return None
        try:
            steps = self._work.steps(value)
        except LimitExceeded as error:
            raise LimitExceeded(f"{name}: {error}") from error
        if steps.all > _MOST_STEPS:
            raise LimitExceeded(f"checking {name} by this schema takes up to {steps.all:,} steps, too many")
        return steps

    def _explained(self, value: Any, size: int, counted: Steps | None) -> tuple[Fault, ...]:
        """All that is wrong where that is soon said, else the first of it, else that something is."""
        try:
            steps = counted or self._work.steps(value)
        except LimitExceeded:
            return (_UNEXPLAINED,)
        if _is_soon_said(steps.all, size):
            found = zip(self._validator.iter_errors(value), range(_SHOWN_FAULTS), strict=False)
            return tuple(_told(fault) for fault, _ in found)
        if not _is_soon_said(steps.branching, size):
            return (_UNEXPLAINED,)
        try:
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as fault:
            return (_told(fault),)
        raise AssertionError("a value that is not valid has a fault")


@dataclass
class KeptSchemas:
    """Compiled schemas by their text, or by a key that is shorter than it: the last used ones up to `most`, which is
    bytes of text, and 4 KiB for each pattern.

    The memory that they take is up to a hundred times that.
    """

    most: int
    _kept: OrderedDict[Hashable, tuple[CheckedSchema, int]] = dataclass_field(default_factory=OrderedDict)
    _size: int = 0
    _lock: Lock = dataclass_field(default_factory=Lock)

    def get(self, schema: Mapping[str, Any], name: str) -> CheckedSchema:
        """Raises as `check_schema`."""
        text = encode_within(schema, name, MOST_SCHEMA_BYTES, SCHEMA_DEPTH)
        return self.find(text) or self._keep(text, text)

    def keep(self, key: Hashable, schema: Mapping[str, Any], name: str) -> CheckedSchema:
        """Under a key that stands for this schema for good. Raises as `check_schema`."""
        return self._keep(key, encode_within(schema, name, MOST_SCHEMA_BYTES, SCHEMA_DEPTH))

    def find(self, key: Hashable) -> CheckedSchema | None:
        """What was kept under the key, if it still is."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def _keep(self, key: Hashable, text: str) -> CheckedSchema:
        checked = CheckedSchema(orjson.loads(text))
        size = len(text) + checked.patterns * _PATTERN_KEPT
        with self._lock:
            if key not in self._kept:
                self._kept[key] = (checked, size)
                self._size += size
            while self._size > self.most:
                self._size -= self._kept.popitem(last=False)[1][1]
        return checked

    def __len__(self) -> int:
        return len(self._kept)


_KEPT = KeptSchemas(_MOST_KEPT)


def check_schema(schema: Mapping[str, Any], name: str = "schema") -> None:
    """Whether values can be checked by it.

    Raises `InvalidInput` naming the field `name` for what is no JSON Schema 2020-12 and for references beyond itself,
    `LimitExceeded` past 64 KiB, 32 levels, 256 KiB of compiled patterns, or where it is too entangled.
    """
    try:
        _KEPT.get(schema, name)
    except InvalidInput as error:
        message = str(error)
        fault = {"field": name, "message": message, "code": "invalid_schema"}
        raise InvalidInput(f"{name}: {message}", [fault]) from error
    except LimitExceeded as error:
        raise LimitExceeded(f"{name}: {error}") from error


def conforms(schema: Mapping[str, Any], value: Any, name: str = "the output") -> bool:
    """Whether the value is what the schema says.

    Raises as `check_schema`, and of the value `LimitExceeded` naming it past 1 MiB, 64 levels, or the work that one
    check may be, and `InvalidInput` for what is not JSON. Takes up to half a second of the processor.
    """
    return _KEPT.get(schema, "the schema").fits(value, name)


def find_faults(schema: Mapping[str, Any], value: Any, name: str = "the output") -> tuple[Fault, ...]:
    """Where the value is not what the schema says, at most 10 places; none where it is.

    What cannot be checked does not fit: where `conforms` raises, that is the fault.
    """
    try:
        return _KEPT.get(schema, "the schema").faults(value, name)
    except (InvalidInput, LimitExceeded) as error:
        return (Fault("", str(error)),)


def _read(value: Any, name: str) -> tuple[Any, int]:
    """The value as JSON has it, and its bytes."""
    text = encode_within(value, name, MOST_VALUE_BYTES, VALUE_DEPTH).encode()
    return orjson.loads(text), len(text)


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
    return Fault(_shortened(place), _shortened(message), fault.kind.name)


def _shortened(message: str) -> str:
    """It holds the value that is wrong, however large."""
    return message if len(message) <= _SHOWN_CHARACTERS else f"{message[:_SHOWN_CHARACTERS]}…"
