"""Vectors on the wire: the binary form of pgvector (16-bit dimension and reserved word, 32-bit floats, big-endian)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def to_wire(vectors: NDArray[np.float32]) -> list[bytes]:
    """Rows of `vectors`, shape (n, d), each as one value of type vector."""
    header = struct.pack(">HH", vectors.shape[1], 0)
    return [header + row.tobytes() for row in vectors.astype(">f4")]
