"""What an edit changed, field by field, as the timeline tells it: without values that are long or sensitive."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from datalane.kit.redaction import redact

MOST_CHARACTERS = 200
"""A longer value is not told; the thing itself has the newest one."""
METADATA = "metadata."


@dataclass(frozen=True, slots=True)
class Change:
    """`field` is a column, or `metadata.` and a key. Values that are withheld are None, and `withheld` says why."""

    field: str
    before: Any
    after: Any
    withheld: Literal["long", "sensitive"] | None = None

    def as_json(self) -> dict[str, Any]:
        if self.withheld:
            return {"field": self.field, "withheld": self.withheld}
        return {"field": self.field, "before": self.before, "after": self.after}


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same text. To Python 1 and true are equal, to whoever reads them they are not."""
    return orjson.dumps(one, option=orjson.OPT_SORT_KEYS) == orjson.dumps(other, option=orjson.OPT_SORT_KEYS)


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any], is_sensitive: Callable[[str], bool] = lambda key: False
) -> tuple[Change, ...]:
    """The fields that differ, by name. Both are JSON values; `metadata` is told key by key.

    `is_sensitive` says of a key of metadata whether its values are withheld. What looks like a secret is masked.
    """
    old, new = _flat(before), _flat(after)
    return tuple(
        _change(name, old.get(name), new.get(name), is_sensitive)
        for name in sorted(old.keys() | new.keys())
        if (name in old) != (name in new) or not same(old.get(name), new.get(name))
    )


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    metadata = values.get("metadata", {})
    plain = {name: value for name, value in values.items() if name != "metadata"}
    return plain | {f"{METADATA}{key}": value for key, value in metadata.items()}


def _change(name: str, before: Any, after: Any, is_sensitive: Callable[[str], bool]) -> Change:
    key = name.removeprefix(METADATA)
    if key != name and is_sensitive(key):
        return Change(name, None, None, "sensitive")
    if max(len(str(before)), len(str(after))) > MOST_CHARACTERS:
        return Change(name, None, None, "long")
    shown = redact({key: before}), redact({key: after})
    return Change(name, shown[0][key], shown[1][key])


def name_fields(changes: Sequence[Change]) -> list[str]:
    return [change.field for change in changes]
