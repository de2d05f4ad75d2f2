"""The life of a project and of an item. Deleting is no state: a thing that is restored is in the state it was in."""

from __future__ import annotations

from datalane.kit.lifecycle import Lifecycle

_TRANSITIONS = {
    "draft": frozenset({"active"}),
    "active": frozenset({"archived"}),
    "archived": frozenset({"active"}),
}

PROJECT = Lifecycle("project", "draft", _TRANSITIONS)
ITEM = Lifecycle("item", "draft", _TRANSITIONS)
