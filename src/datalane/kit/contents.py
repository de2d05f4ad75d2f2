"""What is cut out of contents before they are stored: credentials always, personal data where that is configured."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

from datalane.kit.detection import DETECTORS, Detector, is_card, mask_detected
from datalane.kit.redaction import MASK, is_secret_name, redact, redact_text

_DEEPEST = 12
"""Below that all is masked, as `redact` does."""
_SEPARATORS = str.maketrans("", "", "_-. ")


class Redaction:
    """How contents are redacted. `names` are those of members whose values are masked, at any depth and also in texts
    that are JSON; upper case and `_`, `-`, `.` and spaces in them do not matter. `detect` says what is looked for in
    texts, in names of members and, of cards, in numbers.
    """

    def __init__(self, names: Iterable[str] = (), detect: Iterable[Detector] = ()) -> None:
        self._names = frozenset(map(_plain, names))
        wanted = frozenset(detect)
        self._detect = tuple(each for each in DETECTORS if each in wanted)
        self.value: Callable[[Any], Any] = self._clean if self._names or self._detect else redact
        """A copy in which that is masked, at any depth of mappings and sequences."""
        self.text: Callable[[str], str] = self._clean_text if self._detect else redact_text
        """A text with that cut out; in a message there are no members."""

    def _clean(self, value: Any, depth: int = 0) -> Any:
        if isinstance(value, str):
            return self._clean_json(value, depth) if self._names and _may_be_json(value) else self.text(value)
        if depth >= _DEEPEST and isinstance(value, Mapping | list | tuple | set | frozenset):
            return MASK
        if isinstance(value, Mapping):
            return self._clean_members(value, depth)
        if isinstance(value, list | tuple | set | frozenset):
            return [self._clean(item, depth + 1) for item in value]
        if isinstance(value, bytes):
            return f"[{len(value)} bytes]"
        return MASK if "card" in self._detect and _is_number(value) and is_card(int(value)) else value

    def _clean_members(self, value: Mapping[Any, Any], depth: int) -> dict[Any, Any]:
        cleaned = dict[Any, Any]()
        for key, item in value.items():
            name = str(key)
            is_masked = item is not None and (is_secret_name(name) or _plain(name) in self._names)
            cleaned[self._free_name(key, value, cleaned)] = MASK if is_masked else self._clean(item, depth + 1)
        return cleaned

    def _free_name(self, key: Any, names: Mapping[Any, Any], taken: Mapping[Any, Any]) -> Any:
        """The name of a member without what is detected in it; what two are called then is told apart by a number."""
        if not self._detect or not isinstance(key, str):
            return key
        name = mask_detected(key, self._detect, MASK)
        if name == key:
            return key
        free, number = name, len(taken)
        while free in taken or free in names:
            number += 1
            free = f"{name} {number}"
        return free

    def _clean_json(self, text: str, depth: int) -> str:
        has_twins = False

        def made(members: list[tuple[str, Any]]) -> dict[str, Any]:
            nonlocal has_twins
            value = dict(members)
            has_twins = has_twins or len(value) < len(members)
            return value

        try:
            value = json.loads(text, object_pairs_hook=made)
        except (ValueError, RecursionError):
            return self.text(text)
        cleaned = self._clean(value, depth + 1)
        # Of two members of one name the first is gone, so such a text is not kept as it was. What is kept is read as a
        # text too, because of names of members.
        return self.text(text if cleaned == value and not has_twins else orjson.dumps(cleaned).decode())

    def _clean_text(self, text: str) -> str:
        return mask_detected(redact_text(text), self._detect, MASK)


def _may_be_json(text: str) -> bool:
    return text.lstrip()[:1] in ("{", "[")


def _plain(name: str) -> str:
    return name.casefold().translate(_SEPARATORS)


def _is_number(value: Any) -> bool:
    """Whether it is a whole number, of at most 19 digits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 < value < 10**19 and value == int(value)


CREDENTIALS = Redaction()
"""What is always cut out, and nothing else."""
