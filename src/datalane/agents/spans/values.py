"""Values of attributes (`AnyValue` of the protocol) as plain ones."""

from __future__ import annotations

import base64
import math
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue

_DEPTH = 32
_TOO_DEEP = "[nested too deeply]"


def of_protobuf(value: AnyValue, depth: int = 0) -> Any:
    kind = value.WhichOneof("value")
    if depth > _DEPTH:
        return _TOO_DEEP
    if kind == "string_value":
        return _text(value.string_value)
    if kind == "array_value":
        return [of_protobuf(each, depth + 1) for each in value.array_value.values]
    if kind == "kvlist_value":
        return {_text(one.key): of_protobuf(one.value, depth + 1) for one in value.kvlist_value.values}
    if kind == "double_value":
        return _number(value.double_value)
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    return None if kind is None else getattr(value, kind)


def of_json(value: Any, depth: int = 0) -> Any:
    """None for what is not written as the protocol has it."""
    if depth > _DEPTH:
        return _TOO_DEEP
    if not isinstance(value, dict) or not value:
        return None
    kind, held = next(iter(value.items()))
    if kind in ("stringValue", "bytesValue"):
        return _text(held) if isinstance(held, str) else None
    if kind == "intValue":
        return _whole(held)
    if kind == "doubleValue":
        return _number(held) if isinstance(held, float | int) else held if isinstance(held, str) else None
    if kind == "boolValue":
        return held if isinstance(held, bool) else None
    values = held.get("values") if isinstance(held, dict) else None
    if not isinstance(values, list):
        return None
    if kind == "arrayValue":
        return [of_json(each, depth + 1) for each in values]
    if kind == "kvlistValue":
        pairs = [one for one in values if isinstance(one, dict) and isinstance(one.get("key"), str)]
        return {_text(one["key"]): of_json(one.get("value"), depth + 1) for one in pairs}
    return None


def _text(text: str) -> str:
    """The database holds no NUL character."""
    return text.replace("\x00", "\ufffd")


def _number(number: float) -> Any:
    return number if math.isfinite(number) else str(number)


def _whole(held: Any) -> Any:
    """A text of digits, since 64 bits do not fit into every reader's numbers."""
    if isinstance(held, str):
        try:
            return int(held) if len(held) < 32 else None
        except ValueError:
            return None
    return held if isinstance(held, int) and not isinstance(held, bool) else None
