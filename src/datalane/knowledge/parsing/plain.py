"""Plain text: decoded, nothing else."""

from __future__ import annotations

from datalane.knowledge.parsing.media import Extraction
from datalane.knowledge.text import decode_text

PARSER_VERSION = "text/1"


def parse(data: bytes) -> Extraction:
    """Raises UndecodableText."""
    return Extraction(decode_text(data))
