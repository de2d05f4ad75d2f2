"""Values as JSON. Ids that the driver reads are of a type of its own, which the encoder does not know."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson


def to_json(value: Any, option: int = 0) -> bytes:
    """`value` as JSON: ids and moments become text. `option` is of `orjson`. Raises `TypeError` for other values."""
    return orjson.dumps(value, default=_id_as_text, option=option)


def _id_as_text(value: Any) -> str:
    if isinstance(value, UUID):
        return str(value)
    raise TypeError
