"""JSON without surprises: what two readers could understand differently is refused.

Refused: NaN and Infinity, duplicate keys, lone surrogates, bytes that are not UTF-8, and nesting past a depth.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import orjson

from datalane.errors import InvalidInput

DEPTH = 64


class _Refused(ValueError):
    pass


def parse_json(raw: bytes | str, *, depth: int = DEPTH, name: str = "the body") -> Any:
    """The value of `raw`, at most `depth` objects and arrays deep.

    Raises `InvalidInput` that says what is wrong with `name` and, for a syntax error, where.
    """
    text = _decoded(raw, name)
    try:
        _refuse_deep(text, depth)
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite)
        orjson.dumps(value, option=orjson.OPT_PASSTHROUGH_DATETIME)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise _invalid(f"{name} is not valid JSON: {error.msg} at {where}") from None
    except _Refused as error:
        raise _invalid(f"{name} {error}") from None
    except (ValueError, TypeError) as error:
        raise _invalid(f"{name} holds {_unusable(error)}") from None
    return value


def _decoded(raw: bytes | str, name: str) -> str:
    if isinstance(raw, str):
        return raw
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _invalid(f"{name} is not UTF-8: byte {error.start} cannot be decoded") from None


def _refuse_deep(text: str, depth: int) -> None:
    """Count brackets outside strings before any recursive parser sees them."""
    if text.count("[") + text.count("{") <= depth:
        return
    level, inside, escaped = 0, False, False
    for character in text:
        if inside:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                inside = False
        elif character == '"':
            inside = True
        elif character in "[{":
            level += 1
            if level > depth:
                raise _Refused(f"is nested deeper than {depth} levels")
        elif character in "]}":
            level -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _Refused(f"has the key {twice[:64]!r} more than once in one object")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise _Refused(f"holds {name}, which is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise _Refused(f"holds the number {digits[:32]}, which is too large")
    return value


def _unusable(error: Exception) -> str:
    message = str(error)
    if "surrogate" in message or "UTF-8" in message:
        return "a lone surrogate (half of a character pair), which is not text"
    if "digit" in message or "bit" in message:
        return "an integer outside 64 bits"
    return f"a value that cannot be used: {message}"


def _invalid(message: str) -> InvalidInput:
    return InvalidInput(message, [{"field": "body", "message": message, "code": "json"}])
