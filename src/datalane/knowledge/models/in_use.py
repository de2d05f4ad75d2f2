"""Which models make the vectors of a workspace now, and making them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.knowledge.embeddings import passage_text
from datalane.knowledge.extraction.types import Extracted
from datalane.knowledge.providers import Providers

if TYPE_CHECKING:
    from datalane.knowledge.embeddings import Vectors

_queries = load_queries(__file__)


@dataclass(frozen=True, slots=True)
class InUse:
    """Every chunk that is indexed gets a vector of each of `all`; search uses those of `active`."""

    active: str
    all: frozenset[str]


async def hold_models(tx: Transaction, usual: str) -> InUse:
    """The models as they are and stay until the transaction ends. `usual` is what a workspace has that chose none."""
    rows = await _queries.hold_models(tx.connection, usual=usual)
    [active] = [row["model_version"] for row in rows if row["status"] == "active"]
    return InUse(active, frozenset(row["model_version"] for row in rows))


@dataclass(frozen=True, slots=True)
class Searched:
    """The model that is searched. With `index_dimensions` the workspace has an index of its vectors that is ready; it
    is asked with `index_effort` (`hnsw.ef_search`)."""

    model_version: str
    index_dimensions: int | None = None
    index_effort: int | None = None


async def searched_model(tx: Transaction, usual: str) -> Searched:
    """The model that is searched now, and how. `usual` is what a workspace has that chose none."""
    row = await _queries.get_searched(tx.connection, workspace_id=tx.workspace_id, usual=usual)
    return Searched(row["model_version"], row["dimensions"], row["ef_search"])


def check_models(providers: Providers, workspace_id: UUID, models: frozenset[str]) -> None:
    """Raises `RateLimited` when a model makes the workspace wait, `ModelUnavailable` when the lane lacks one."""
    for model in models:
        providers.get(model).check(workspace_id)


async def embed_documents(
    providers: Providers, workspace_id: UUID, models: frozenset[str], documents: Sequence[Extracted]
) -> list[dict[str, Vectors]]:
    """Vectors of each document's chunks, by model. Those of the lane's own model came with the extraction.

    Raises as `Provider.embed`.
    """
    vectors = [_own(document, models) for document in documents]
    passages = [
        passage_text(document.title, document.text[chunk.start : chunk.end])
        for document in documents
        for chunk in document.chunks
    ]
    ends = list(accumulate(len(document.chunks) for document in documents))
    for model in sorted(models - {version_of_extraction(document) for document in documents}):
        rows = await providers.get(model).embed(workspace_id, passages)
        for mine, document, end in zip(vectors, documents, ends, strict=True):
            mine[model] = rows[end - len(document.chunks) : end]
    return vectors


def version_of_extraction(document: Extracted) -> str:
    return f"{document.embedder_name}/{document.embedder_version}"


def _own(document: Extracted, models: frozenset[str]) -> dict[str, Vectors]:
    version = version_of_extraction(document)
    return {version: document.embeddings} if version in models else {}


def covers(vectors: Mapping[str, Vectors], in_use: InUse) -> bool:
    """Whether a document has vectors of every model in use."""
    return in_use.all <= vectors.keys()
