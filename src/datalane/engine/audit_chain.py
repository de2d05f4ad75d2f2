"""What the seals are hashes of, computed here and not in the database, so that one can be checked against the other.

Fields are framed: four bytes of length, then the bytes; a null is the length -1. Times are microseconds since 1970 and
numbers eight bytes, both signed and big-endian; UUIDs are 16 bytes, text is UTF-8. The first field names the form.

    details = SHA-256(form, salt, before, after)
    row     = SHA-256(form, workspace, id, time, actor, action, resource type, resource id, correlation, xid, details)
    seal    = SHA-256(form, workspace, number, first position, last position, last xid, last id, manifest,
                      hash of the seal before, time)

The manifest is the id and the hash of each row of the seal, 48 bytes a row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

NO_SEAL = bytes(32)
"""What the first seal has for the hash of the seal before."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ENTRY = 48
Field = str | int | UUID | datetime | bytes | None


def digest(*fields: Field) -> bytes:
    """SHA-256 of the framed fields."""
    return hashlib.sha256(b"".join(_framed(field) for field in fields)).digest()


def _framed(field: Field) -> bytes:
    if field is None:
        return b"\xff\xff\xff\xff"
    written = _written(field)
    return len(written).to_bytes(4, "big") + written


def _written(field: str | int | UUID | datetime | bytes) -> bytes:
    match field:
        case bytes():
            return field
        case str():
            return field.encode()
        case UUID():
            return field.bytes
        case datetime():
            return ((field - _EPOCH) // timedelta(microseconds=1)).to_bytes(8, "big", signed=True)
        case int():
            return field.to_bytes(8, "big", signed=True)


def details_digest(salt: UUID, before: str | None, after: str | None) -> bytes:
    """`before` and `after` are the JSON text as stored."""
    return digest("datalane.audit_details.1", salt, before, after)


def row_hash(workspace_id: UUID, row: Mapping[str, Any]) -> bytes:
    """Of a row with the columns of `audit_log`."""
    return digest(
        "datalane.audit_log.1",
        workspace_id,
        row["audit_id"],
        row["occurred_at"],
        row["actor_id"],
        row["action"],
        row["resource_type"],
        row["resource_id"],
        row["correlation_id"],
        row["recorded_xid"],
        row["details_digest"],
    )


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands: rows are sealed in this order, below the oldest transaction still open."""

    xid: int
    audit_id: UUID

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Place:
        return cls(row["recorded_xid"], row["audit_id"])


BEGINNING = Place(0, UUID(int=0))
"""Before every row."""
END = Place(2**63 - 1, UUID(int=2**128 - 1))
"""After every row."""


@dataclass(frozen=True, slots=True)
class Seal:
    """A stored seal. Positions count the rows of the workspace from 1."""

    seal_no: int
    first_position: int
    last_position: int
    last: Place
    manifest: bytes
    previous_hash: bytes
    seal_hash: bytes
    sealed_at: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Seal:
        columns = dict(row)
        return cls(last=Place(columns.pop("last_xid"), columns.pop("last_audit_id")), **columns)

    def computed_hash(self, workspace_id: UUID) -> bytes:
        return digest(
            "datalane.audit_seal.1",
            workspace_id,
            self.seal_no,
            self.first_position,
            self.last_position,
            self.last.xid,
            self.last.audit_id,
            self.manifest,
            self.previous_hash,
            self.sealed_at,
        )

    def entries(self) -> Iterator[tuple[int, UUID, bytes]]:
        """Position, id and hash of each row."""
        for place in range(len(self.manifest) // _ENTRY):
            entry = self.manifest[place * _ENTRY : (place + 1) * _ENTRY]
            yield self.first_position + place, UUID(bytes=entry[:16]), entry[16:]
