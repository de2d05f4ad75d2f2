"""Size and depth of JSON values."""

from __future__ import annotations

import math
import re
from typing import Any

import orjson

from datalane.errors import InvalidInput, LimitExceeded

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""An escaped NUL, not the text of one."""


def encode_within(value: Any, name: str, max_bytes: int, max_depth: int) -> str:
    """`value` as compact JSON text.

    Raises `LimitExceeded` naming `name` past `max_bytes` of UTF-8 or `max_depth` nested containers, and `InvalidInput`
    for what JSON or the database cannot hold (a lone surrogate, a NUL character, an integer beyond 64 bits).
    """
    try:
        encoded = orjson.dumps(value)
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise InvalidInput(f"{name} cannot be written as JSON: {error}") from error
    if len(encoded) > max_bytes:
        raise LimitExceeded(f"{name} is {len(encoded):,} bytes, over the limit of {max_bytes:,}")
    if b"\\u0000" in encoded and _NUL.search(encoded):
        raise InvalidInput(f"{name} holds a NUL character, which the database cannot store")
    if b"null" in encoded and _holds_no_number(value):
        raise InvalidInput(f"{name} holds NaN or Infinity, which is not JSON")
    if encoded.count(b"{") + encoded.count(b"[") > max_depth and _deeper_than(value, max_depth):
        raise LimitExceeded(f"{name} is nested deeper than the limit of {max_depth}")
    return encoded.decode()


def _holds_no_number(value: Any) -> bool:
    """Whether a float is NaN or infinite: the encoder writes those as null."""
    level = [value]
    while level:
        node = level.pop()
        if isinstance(node, float) and not math.isfinite(node):
            return True
        if isinstance(node, dict):
            level.extend(node.values())
        elif isinstance(node, list | tuple):
            level.extend(node)
    return False


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value] if isinstance(value, dict | list | tuple) else []
    for _ in range(limit):
        if not level:
            return False
        level = [
            child
            for container in level
            for child in (container.values() if isinstance(container, dict) else container)
            if isinstance(child, dict | list | tuple)
        ]
    return bool(level)
