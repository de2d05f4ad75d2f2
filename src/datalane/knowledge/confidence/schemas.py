"""What is told of confidences and of how they were learned."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel

from datalane.knowledge.confidence.bands import Band
from datalane.knowledge.methods import Method


class BandReliability(BaseModel):
    """Results of queries that were not learned from, which got confidences of the band: how many, their mean
    confidence, and the share that was relevant. Null where there are none."""

    band: Band
    results: int
    confidence: float | None
    relevant: float | None


class Calibration(BaseModel):
    """How scores become confidences, as learned from a run: `confidences` at `scores`, both rising, and interpolated
    between. It holds for the method, the weight and the model of that run.

    `calibration_error` is how far confidences were from the share that was relevant, on average; `brier_score` is to
    be seen beside that of telling every result the overall share. Both, and `bands`, are of queries that were not
    learned from.
    """

    calibration_id: UUID
    run_id: UUID
    method: Method
    keyword_weight: float | None
    embedding_model_version: str | None
    scores: list[float]
    confidences: list[float]
    queries: int
    results: int
    calibration_error: float
    brier_score: float
    base_brier_score: float
    bands: list[BandReliability]
    created_at: datetime
    actor_id: UUID


class CalibrationList(BaseModel):
    data: list[Calibration]
    page_size: int
    next_cursor: str | None
