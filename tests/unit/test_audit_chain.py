"""The canonical form: written down once, so that a chain of today verifies with the code of tomorrow."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from uuid import UUID

from datalane.engine.audit_chain import NO_SEAL, Place, Seal, details_digest, digest, row_hash

HOME = UUID("019a0000-0000-7000-8000-000000000001")
AUDIT_ID = UUID("019a0000-0000-7000-8000-000000000002")
NOON = datetime(2030, 1, 1, 12, 0, 0, 1, tzinfo=UTC)


def test_fields_are_framed_by_their_length() -> None:
    written = b"\x00\x00\x00\x02ab" + b"\xff\xff\xff\xff" + b"\x00\x00\x00\x00" + b"\x00\x00\x00\x08" + b"\xff" * 8
    assert digest("ab", None, b"", -1) == hashlib.sha256(written).digest()
    assert digest("ab", "c") != digest("a", "bc")
    assert digest(NOON) == digest(1893499200000001)


def test_the_hashes_of_the_first_form_stay_what_they_are() -> None:
    details = details_digest(UUID(int=7), None, '{"name": "Zoë"}')
    row = row_hash(
        HOME,
        {
            "audit_id": AUDIT_ID,
            "occurred_at": NOON,
            "actor_id": UUID(int=9),
            "action": "item.made",
            "resource_type": "item",
            "resource_id": None,
            "correlation_id": "c-1",
            "recorded_xid": 4_294_967_299,
            "details_digest": details,
        },
    )
    seal = Seal(1, 1, 1, Place(4_294_967_299, AUDIT_ID), AUDIT_ID.bytes + row, NO_SEAL, b"", NOON)
    assert details.hex() == "7fd89c22d43468e52f0c14bfb2c059aa4f3c99dab3bb3fdaf459e49ca5cdf89e"
    assert row.hex() == "a808bcb26a9e41c3f6e475f85cc53e6d59570dfc07eabb9af5f08b93fd18a26b"
    assert seal.computed_hash(HOME).hex() == "6493ff34d9c2c62188541867c8fec0eaac6c12f1fcf8ff7e260dbbf0ef2d65ce"
    assert list(seal.entries()) == [(1, AUDIT_ID, row)]
