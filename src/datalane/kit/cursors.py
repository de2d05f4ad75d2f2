"""Cursors of lists in pages: where a list goes on, signed, so that only the lane makes one.

    base64url( version: 1 byte | tag: 16 bytes | home: 16 bytes | position: JSON )

The tag is HMAC-SHA256 over the version, the list's name, the home and the position, under a key of the lane, cut to
16 bytes. The home is the workspace that the list is of (or the user, for a list of a user's own), so that a cursor is
good for one list of one home. It is signed and not encrypted: its holder can read the position, which has stood in
their page. A cursor of another version, such as the unsigned ones of version 1, is refused as a damaged one.

A list whose positions change their meaning takes another name, so that older cursors of it are refused.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import secrets
from typing import Any, Final
from uuid import UUID

from datalane.errors import InvalidInput

MOST_CHARACTERS: Final = 4_000
"""Of a cursor. A position of 500 characters of any language fits."""

_VERSION = b"\x02"
_TAG = 16
_HEAD = len(_VERSION) + _TAG + 16
_SCALARS = (str, int, float, bool, type(None))


class Cursors:
    """Makes and reads the cursors of one key. All processes that answer for a lane need the same one."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        """Raises `ValueError` without a key."""
        if not key:
            raise ValueError("cursors need a key")
        self._key = key

    def __repr__(self) -> str:
        return "Cursors(…)"

    def make(self, listing: str, home: UUID, *position: Any) -> str:
        """The cursor after the row at `position` of the list named `listing`.

        `position` holds strings, finite numbers, booleans and None; whatever else a list is sorted by is written as
        text. Raises `TypeError` for another type, `ValueError` for what is no JSON or too long to come back.
        """
        for value in position:
            if not isinstance(value, _SCALARS):
                raise TypeError(f"a cursor's position holds JSON scalars, no {type(value).__name__}: write it as text")
        written = _ENCODER.encode(position).encode()
        where = home.bytes + written
        cursor = base64.urlsafe_b64encode(_VERSION + self._tag(listing, where) + where).rstrip(b"=").decode()
        if len(cursor) > MOST_CHARACTERS:
            raise ValueError(
                f"the position takes a cursor of {len(cursor):,} characters, the most is {MOST_CHARACTERS:,}"
            )
        return cursor

    def read(
        self, listing: str, home: UUID, cursor: str | None, *, home_name: str = "workspace"
    ) -> tuple[Any, ...] | None:
        """The position of a cursor that `make` made for this list and home; None without one.

        Raises `InvalidInput` for any other text; `home_name` is what the message calls a home.
        """
        if cursor is None:
            return None
        raw = _decoded(cursor)
        tag, where = raw[len(_VERSION) : len(_VERSION) + _TAG], raw[len(_VERSION) + _TAG :]
        if not raw.startswith(_VERSION) or not hmac.compare_digest(tag, self._tag(listing, where)):
            raise _refused("the cursor is damaged or of another list")
        if where[:16] != home.bytes:
            raise _refused(f"the cursor is of another {home_name}")
        return tuple(json.loads(raw[_HEAD:]))

    def _tag(self, listing: str, where: bytes) -> bytes:
        """The list's name goes with its length, so that no two pairs of name and place are signed alike."""
        name = listing.encode()
        return hmac.digest(self._key, _VERSION + len(name).to_bytes(4) + name + where, "sha256")[:_TAG]


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))

PROCESS_CURSORS: Final = Cursors(secrets.token_bytes(32))
"""Under a key that this process alone has, for a `Database` that was given none."""


def _decoded(cursor: str) -> bytes:
    """The bytes of the one way to write them; nothing for any other text."""
    if len(cursor) > MOST_CHARACTERS:
        return b""
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return b""
    return raw if base64.urlsafe_b64encode(raw).rstrip(b"=") == cursor.encode() else b""


def _refused(what: str) -> InvalidInput:
    message = f"{what}; send a next_cursor of this one, or none to begin anew"
    return InvalidInput(message, [{"field": "query.cursor", "message": message, "code": "invalid_cursor"}])
