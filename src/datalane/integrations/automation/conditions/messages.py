"""The library's messages as people read them."""

from __future__ import annotations

import re

from datalane.integrations.automation.conditions.child import TYPES

_MOST_FAULTS = 3
_MOST_CHARACTERS = 500
_PLACED = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)")
_CODE = re.compile(r"^[A-Z_]+: | \[[A-Z_]+\]$")
_NAMES = ", ".join(TYPES)


def readable(message: str) -> str:
    """`message` with places in words and without the library's own codes."""
    if "Iteration budget exceeded" in message:
        return "it goes through too many elements"
    faults: dict[str, None] = {}
    for line, column, says in _PLACED.findall(message):
        said = re.sub(r" \(in container ''\)$| expecting \{.*\}$", "", _CODE.sub("", says))
        faults[f"line {line}, column {column}: {said}" if int(line) > 0 else said] = None
    told = "; ".join(list(faults)[:_MOST_FAULTS]) or _CODE.sub("", _CODE.sub("", message))
    return (told + _advice(message))[:_MOST_CHARACTERS]


def _advice(message: str) -> str:
    if "undeclared reference" in message:
        return f". An expression may name {_NAMES}"
    if "Key not found" in message:
        return "; ask has(…) before"
    if "recursion" in message:
        return ". It is nested too deeply"
    return ""
