"""What documents use up: meters that a plan may have quotas of."""

from __future__ import annotations

from typing import Final

from datalane.engine.meters import Meters

DOCUMENTS: Final = "knowledge.documents"
BYTES: Final = "knowledge.bytes"


def register_meters(meters: Meters) -> None:
    """Versions of documents that are taken in, and the bytes of their originals."""
    meters.name(DOCUMENTS, BYTES)
