"""Tokens: those of sessions carry nothing but chance, API keys and invites name their workspace and themselves.

Only SHA-256 of each is stored; 256 random bits need no slow hash.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from uuid import UUID

_KEY = re.compile(r"dl_([0-9a-f]{32})_([0-9a-f]{32})_([A-Za-z0-9_-]{43})")
_INVITE = re.compile(r"dli_([0-9a-f]{32})_([0-9a-f]{32})_([A-Za-z0-9_-]{43})")
_SESSION = re.compile(r"[A-Za-z0-9_-]{43}")
_REFRESH = re.compile(r"dlr_([A-Za-z0-9_-]{43})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class ApiKeyToken:
    """`dl_<workspace>_<key id>_<secret>`, the ids as 32 hexadecimal digits."""

    workspace_id: UUID
    key_id: UUID
    secret: str

    def __str__(self) -> str:
        return f"dl_{self.workspace_id.hex}_{self.key_id.hex}_{self.secret}"

    def __repr__(self) -> str:
        return f"ApiKeyToken(workspace_id={self.workspace_id}, key_id={self.key_id})"


@dataclass(frozen=True, slots=True)
class InviteToken:
    """`dli_<workspace>_<invite id>_<secret>`, the ids as 32 hexadecimal digits."""

    workspace_id: UUID
    invite_id: UUID
    secret: str

    def __str__(self) -> str:
        return f"dli_{self.workspace_id.hex}_{self.invite_id.hex}_{self.secret}"

    def __repr__(self) -> str:
        return f"InviteToken(workspace_id={self.workspace_id}, invite_id={self.invite_id})"


def new_secret() -> str:
    return secrets.token_urlsafe(32)


def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def parse_api_key(token: str) -> ApiKeyToken | None:
    """The parts of an API key, None when `token` is not shaped like one."""
    match = _KEY.fullmatch(token)
    return ApiKeyToken(UUID(match[1]), UUID(match[2]), match[3]) if match else None


def parse_invite(token: str) -> InviteToken | None:
    """The parts of an invite's token, None when `token` is not shaped like one."""
    match = _INVITE.fullmatch(token)
    return InviteToken(UUID(match[1]), UUID(match[2]), match[3]) if match else None


def is_session_token(token: str) -> bool:
    return _SESSION.fullmatch(token) is not None


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """`dlr_<family>_<rotation>`: one secret stays for the life of a session, the other changes at each refresh."""

    family: str
    rotation: str

    @classmethod
    def new(cls) -> RefreshToken:
        return cls(new_secret(), new_secret())

    def rotated(self) -> RefreshToken:
        return RefreshToken(self.family, new_secret())

    def __str__(self) -> str:
        return f"dlr_{self.family}_{self.rotation}"

    def __repr__(self) -> str:
        return "RefreshToken()"


def parse_refresh(token: str) -> RefreshToken | None:
    """The parts of a refresh token, None when `token` is not shaped like one."""
    match = _REFRESH.fullmatch(token)
    return RefreshToken(match[1], match[2]) if match else None
