"""A second model that needs no download."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import numpy as np

from datalane.knowledge.embeddings import Embedder


class Shortened:
    """The first half of another model's numbers: another space of vectors."""

    provider = "builtin"
    batch = 500

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.name, self.version, self.dimensions = f"{embedder.name}-short", embedder.version, embedder.dimensions // 2

    def check(self, workspace_id: UUID) -> None:
        return None

    async def embed(self, workspace_id: UUID, texts: Sequence[str]) -> Any:
        short = (await asyncio.to_thread(self._embedder.embed, texts))[:, : self.dimensions]
        return (short / np.linalg.norm(short, axis=1, keepdims=True)).astype(np.float32)

    async def aclose(self) -> None:
        return None
