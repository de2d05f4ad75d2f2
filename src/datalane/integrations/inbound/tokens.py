"""The secret part of the URL that webhooks come to: `dlw_<workspace>_<connector>_<secret>`, of which a digest is kept.

It keeps outsiders from finding out which connectors there are; who sent a delivery its signature says.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from uuid import UUID

_TOKEN = re.compile(r"dlw_([0-9a-f]{32})_([0-9a-f]{32})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class InboundToken:
    workspace_id: UUID
    connector_id: UUID
    secret: str

    @classmethod
    def new(cls, workspace_id: UUID, connector_id: UUID) -> InboundToken:
        return cls(workspace_id, connector_id, secrets.token_urlsafe(32))

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.secret.encode()).digest()

    def __str__(self) -> str:
        return f"dlw_{self.workspace_id.hex}_{self.connector_id.hex}_{self.secret}"

    def __repr__(self) -> str:
        return f"InboundToken(workspace_id={self.workspace_id}, connector_id={self.connector_id})"


def parse_token(text: str) -> InboundToken | None:
    """None for what is not shaped like one."""
    match = _TOKEN.fullmatch(text)
    return InboundToken(UUID(match[1]), UUID(match[2]), match[3]) if match else None
