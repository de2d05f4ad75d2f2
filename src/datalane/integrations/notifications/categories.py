"""What notifications are about, and by which channels they go out unless somebody says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

CategoryName = Literal["automation", "integrations", "webhooks", "jobs", "security", "membership", "system"]
Channel = Literal["in_app", "email", "webhook"]
DecidedBy = Literal["required", "you", "workspace", "category"]

CHANNELS: tuple[Channel, ...] = get_args(Channel)


@dataclass(frozen=True, slots=True)
class Category:
    """`usual` channels are on by themselves; `required` ones nobody may switch off."""

    name: CategoryName
    title: str
    usual: frozenset[Channel]
    required: frozenset[Channel] = frozenset()

    def decide(self, channel: Channel, own: bool | None, default: bool | None) -> tuple[bool, DecidedBy]:
        """Whether somebody is told by `channel`, and what says so: their `own` word, the workspace's `default`."""
        if channel in self.required:
            return True, "required"
        if own is not None:
            return own, "you"
        if default is not None:
            return default, "workspace"
        return channel in self.usual, "category"


_BOTH: frozenset[Channel] = frozenset({"in_app", "email"})
_IN_APP: frozenset[Channel] = frozenset({"in_app"})

CATEGORIES: Mapping[str, Category] = {
    category.name: category
    for category in (
        Category("automation", "Automation", _IN_APP),
        Category("integrations", "Integrations", _BOTH),
        Category("webhooks", "Webhooks", _BOTH),
        Category("jobs", "Jobs", _BOTH),
        Category("security", "Security", _BOTH, required=_IN_APP),
        Category("membership", "Members", _IN_APP),
        Category("system", "System", _BOTH),
    )
}
"""By name, in the order in which they are shown."""
