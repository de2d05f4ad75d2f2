"""The life of a membership and of an invite.

`invited` is where somebody stands who was a member before and has an invite to come back. Whoever comes for the first
time has no membership until the invite is accepted: before that the workspace would learn who has an account.
"""

from __future__ import annotations

from datalane.kit.lifecycle import Lifecycle

MEMBERSHIP = Lifecycle(
    "membership",
    "active",
    {
        "invited": frozenset({"active", "removed"}),
        "active": frozenset({"suspended", "removed"}),
        "suspended": frozenset({"active", "removed"}),
        "removed": frozenset({"invited"}),
    },
)

INVITE = Lifecycle(
    "invite",
    "open",
    {
        "open": frozenset({"accepted", "revoked", "expired"}),
        "expired": frozenset({"revoked"}),
        "accepted": frozenset(),
        "revoked": frozenset(),
    },
)
