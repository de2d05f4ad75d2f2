"""Cursors of lists in pages: where a list goes on, opaque to whoever holds one.

    base64url( version: 1 byte | digest: 8 bytes | workspace: 16 bytes | position: 16 bytes )

The digest is of the list's name, the workspace and the position, so that a damaged cursor and one of another list are
refused rather than followed to a wrong place. It is no signature: whoever forges a cursor reads their own rows from
another place, since the workspace in it must be theirs and the rows come through the door in any case. A signed
cursor is another version.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from uuid import UUID

from datalane.errors import InvalidInput

_VERSION = b"\x01"
_DIGEST = 8
_LENGTH = len(_VERSION) + _DIGEST + 16 + 16


def make_cursor(listing: str, workspace_id: UUID, position: UUID) -> str:
    """The cursor after the row `position` of the list named `listing`."""
    where = workspace_id.bytes + position.bytes
    return base64.urlsafe_b64encode(_VERSION + _digest(listing, where) + where).rstrip(b"=").decode()


def read_cursor(listing: str, workspace_id: UUID, cursor: str | None) -> UUID | None:
    """The position of a cursor that `make_cursor` made for this list and workspace; None without one.

    Raises `InvalidInput` for any other text.
    """
    if cursor is None:
        return None
    raw = _decoded(cursor)
    where = raw[len(_VERSION) + _DIGEST :]
    if len(raw) != _LENGTH or raw != _VERSION + _digest(listing, where) + where:
        raise _refused(
            "the cursor is damaged or of another list; send a next_cursor of this one, or none to begin anew"
        )
    if where[:16] != workspace_id.bytes:
        raise _refused("the cursor is of another workspace; send a next_cursor of this one, or none to begin anew")
    return UUID(bytes=where[16:])


def _decoded(cursor: str) -> bytes:
    """The bytes of the one way to write them; nothing for any other text."""
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return b""
    return raw if base64.urlsafe_b64encode(raw).rstrip(b"=") == cursor.encode() else b""


def _digest(listing: str, where: bytes) -> bytes:
    return hashlib.sha256(b"%s|%s|%s" % (_VERSION, where, listing.encode())).digest()[:_DIGEST]


def _refused(message: str) -> InvalidInput:
    return InvalidInput(message, [{"field": "query.cursor", "message": message, "code": "invalid_cursor"}])
