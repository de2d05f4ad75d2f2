"""The embedding models that this lane can ask: the offline default, and endpoints that the settings name.

A model's vectors are one space, named by its `model_version`; vectors of two are never compared. Queries and passages
are embedded alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from datalane.errors import Busy, DatalaneError
from datalane.knowledge.embeddings import Embedder
from datalane.knowledge.vectors import to_wire

if TYPE_CHECKING:
    from datalane.knowledge.embeddings import Vectors


_UNTIL_CONFIGURED = 60.0
"""Seconds after which a process may have been started with other settings."""


class EmbeddingFailed(Busy):
    """A provider gives no vectors now; the same may work after `retry_after` seconds."""

    code = "embedding_failed"


class EmbeddingRefused(DatalaneError):
    """A provider gave no usable vectors, and will not for the same texts."""

    code = "embedding_refused"
    status = 502
    is_told = True
    retryable = False


class ModelUnavailable(EmbeddingFailed):
    """A workspace's vectors are of a model that this lane cannot ask."""

    code = "embedding_model_unavailable"

    def __init__(self, model_version: str, known: Iterable[str]) -> None:
        super().__init__(
            f"this lane has no embedding model {model_version}; it has {', '.join(sorted(known))}. Configure it "
            "(DATALANE_EMBEDDINGS__ENDPOINTS), or register one of those and activate it when it is filled",
            _UNTIL_CONFIGURED,
        )


class Provider(Protocol):
    """Makes vectors of one model."""

    @property
    def provider(self) -> str:
        """What kind of provider it is."""
        ...

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def dimensions(self) -> int: ...

    @property
    def batch(self) -> int:
        """Texts that are best embedded together."""
        ...

    def check(self, workspace_id: UUID) -> None:
        """Raises `RateLimited` when this workspace has to wait, so that it prepares nothing meanwhile."""
        ...

    async def embed(self, workspace_id: UUID, texts: Sequence[str]) -> Vectors:
        """Vectors of length 1, float32, shape (len(texts), dimensions), of texts that are not empty.

        Raises `EmbeddingFailed`, `EmbeddingRefused`, and `RateLimited` when this workspace has to wait.
        """
        ...

    async def aclose(self) -> None: ...


def version_of(provider: Provider | Embedder) -> str:
    return f"{provider.name}/{provider.version}"


class Builtin:
    """A model in this process; numpy's part of the work lets other threads run."""

    provider = "builtin"
    batch = 500

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder

    @property
    def name(self) -> str:
        return self.embedder.name

    @property
    def version(self) -> str:
        return self.embedder.version

    @property
    def dimensions(self) -> int:
        return self.embedder.dimensions

    def check(self, workspace_id: UUID) -> None:
        return None

    async def embed(self, workspace_id: UUID, texts: Sequence[str]) -> Vectors:
        return await asyncio.to_thread(self.embedder.embed, texts)

    async def aclose(self) -> None:
        return None


class Providers:
    """The models of the lane by their `model_version`. `usual` is what a workspace has that registered none."""

    def __init__(self, builtin: Builtin, others: Sequence[Provider] = ()) -> None:
        self.builtin = builtin
        self._others = others

    @property
    def usual(self) -> str:
        return version_of(self.builtin)

    def __iter__(self) -> Iterator[Provider]:
        return iter((self.builtin, *self._others))

    def __contains__(self, model_version: object) -> bool:
        return any(version_of(one) == model_version for one in self)

    def get(self, model_version: str) -> Provider:
        """Raises `ModelUnavailable`."""
        for one in self:
            if version_of(one) == model_version:
                return one
        raise ModelUnavailable(model_version, map(version_of, self))

    async def aclose(self) -> None:
        for one in self:
            await one.aclose()


class VectorNeeded(Exception):
    """A query's vector of `model_version` has to be fetched first; no transaction should be open meanwhile."""

    def __init__(self, model_version: str) -> None:
        super().__init__(f"the query has no vector of {model_version} yet")
        self.model_version = model_version


class QueryVectors:
    """Vectors of one query, each made once. Those of a model in this process are made when they are asked for."""

    def __init__(self, providers: Providers, text: str) -> None:
        self._providers = providers
        self._text = text
        self._known: dict[str, bytes] = {}

    @property
    def usual(self) -> str:
        return self._providers.usual

    def at_hand(self, model_version: str) -> bytes:
        """The vector as the database reads it. Raises `VectorNeeded`, `ModelUnavailable`."""
        if model_version not in self._known:
            provider = self._providers.get(model_version)
            if not isinstance(provider, Builtin):
                raise VectorNeeded(model_version)
            self._known[model_version] = to_wire(provider.embedder.embed([self._text]))[0]
        return self._known[model_version]

    async def fetch(self, workspace_id: UUID, model_version: str) -> None:
        """Have the vector at hand afterwards. Raises as `Provider.embed`."""
        vectors = await self._providers.get(model_version).embed(workspace_id, [self._text])
        self._known[model_version] = to_wire(vectors)[0]
