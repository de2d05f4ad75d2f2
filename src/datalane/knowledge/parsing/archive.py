"""Guard for documents that are zip archives: refuse those that unpack to far more than a document should.

The directory of the archive is judged first, before anything is unpacked; then every entry is unpacked once in small
pieces and counted, because a directory can lie.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass

from datalane.knowledge.parsing.errors import ArchiveBomb


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Bounds of one archive; sizes in bytes. `ratio` (unpacked to packed) counts only above `ratio_from` bytes."""

    entries: int = 5_000
    unpacked: int = 256 * 1024 * 1024
    ratio: int = 200
    ratio_from: int = 4 * 1024 * 1024


_PIECE = 256 * 1024


def check_archive(archive: zipfile.ZipFile, packed_size: int, limits: ArchiveLimits | None = None) -> None:
    """Raise ArchiveBomb when the archive of `packed_size` bytes breaks `limits`; zipfile.BadZipFile when damaged."""
    limits = limits or ArchiveLimits()
    entries = archive.infolist()
    if len(entries) > limits.entries:
        raise ArchiveBomb(f"The file holds {len(entries):,} parts; a document may hold {limits.entries:,}.")
    for entry in entries:
        _check_size(entry.file_size, entry.compress_size, limits)
    _check_size(sum(entry.file_size for entry in entries), packed_size, limits)
    unpacked = 0
    for entry in entries:
        entry_size = 0
        with archive.open(entry) as stream:
            while piece := stream.read(_PIECE):
                entry_size += len(piece)
                _check_size(entry_size, entry.compress_size, limits)
                _check_size(unpacked + entry_size, packed_size, limits)
        unpacked += entry_size


def _check_size(unpacked: int, packed: int, limits: ArchiveLimits) -> None:
    if unpacked > limits.unpacked:
        raise ArchiveBomb(f"The file unpacks to more than {limits.unpacked // 2**20:,} MiB, the limit for a document.")
    if unpacked > limits.ratio_from and unpacked > limits.ratio * max(packed, 1):
        raise ArchiveBomb(
            f"The file unpacks to more than {limits.ratio} times its size, which no ordinary document does."
        )
