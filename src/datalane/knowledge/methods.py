"""The ways to search."""

from __future__ import annotations

from enum import StrEnum


class Method(StrEnum):
    SEMANTIC = "semantic"
    KEYWORD = "keyword"
    HYBRID = "hybrid"
