"""What is said and told of embedding models."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

ModelStatus = Literal["available", "filling", "ready", "active", "retired"]
"""`available` is a model of the lane that the workspace has not registered."""


class ModelTarget(BaseModel):
    """`model_version` is the model's name and version, as the list of models says it."""

    model_config = ConfigDict(extra="forbid")

    model_version: str = Field(min_length=3, max_length=200)


class Backfill(BaseModel):
    """The last job that filled the model, as far as it has not completed."""

    job_id: UUID
    status: str
    attempt_count: int
    error_class: str | None
    error_message: str | None
    next_retry_at: datetime | None


class VectorIndex(BaseModel):
    """The workspace's own index of the vectors. Search asks it while it is `ready`; until then, and when it was found
    `unfit`, every vector is looked at. `recall` is the part of the best ten that it found when it was measured."""

    status: Literal["building", "ready", "unfit", "leaving"]
    recall: float | None
    measured_at: datetime | None


class EmbeddingModel(BaseModel):
    """`chunks` of the workspace's `chunks_in_all` current ones have a vector of the model. `served` is false when this
    lane cannot make its vectors; `distance` is that of the vectors, which all have length 1. A workspace that is not
    large has no `index`."""

    model_version: str
    provider: str
    name: str
    version: str
    dimensions: int
    distance: str
    status: ModelStatus
    served: bool
    chunks: int
    chunks_in_all: int
    backfill: Backfill | None
    index: VectorIndex | None
    created_at: datetime | None
    updated_at: datetime | None


class ModelState(BaseModel):
    """What a model has come to, and who registered it; the list of models says how far it is filled."""

    model_version: str
    status: ModelStatus
    created_by_actor_id: UUID


class ModelList(BaseModel):
    data: list[EmbeddingModel]
