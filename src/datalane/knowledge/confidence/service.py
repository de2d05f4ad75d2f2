"""Keeping what was learned of confidences, and telling the confidence of a score."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import InvalidInput, NotFound
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7
from datalane.knowledge.confidence.curve import Curve
from datalane.knowledge.confidence.schemas import Calibration, CalibrationList
from datalane.knowledge.methods import Method
from datalane.knowledge.permissions import CALIBRATE, READ_CALIBRATIONS

if TYPE_CHECKING:
    from datalane.knowledge.confidence.calibrating import Judged

_queries = load_queries(__file__)


@dataclass(frozen=True, slots=True)
class Current:
    """The calibration of what is searched by now."""

    calibration_id: UUID
    curve: Curve


async def calibrate(
    tx: Transaction, run_id: UUID, judged: Sequence[Judged], now: datetime | None = None
) -> Calibration:
    """Learn from the judged results of a run, and tell confidences by that from now on.

    Raises `NotFound`, and `InvalidInput` for too little to learn from and for a run that had several models.
    """
    from datalane.knowledge.confidence.calibrating import fit, measure

    CALIBRATE.check(tx.context)
    run = await _queries.get_learned_from(tx.connection, workspace_id=tx.workspace_id, run_id=run_id)
    if run is None:
        raise NotFound("no such run")
    method, models = Method(run["method"]), run["models"] or None
    if method is not Method.KEYWORD and models is not None and ", " in models:
        raise InvalidInput(f"the model was changed during the run ({models}); ask again")
    reliability, curve = measure(judged), fit(judged)
    made = Calibration(
        calibration_id=uuid7(),
        run_id=run_id,
        method=method,
        keyword_weight=run["keyword_weight"],
        embedding_model_version=None if method is Method.KEYWORD else models,
        scores=list(curve.scores),
        confidences=list(curve.confidences),
        queries=len({one.query_id for one in judged}),
        results=len(judged),
        calibration_error=reliability.calibration_error,
        brier_score=reliability.brier_score,
        base_brier_score=reliability.base_brier_score,
        bands=reliability.bands,
        created_at=now or utc_now(),
        actor_id=tx.context.actor_id,
    )
    await _queries.add_calibration(
        tx.connection,
        workspace_id=tx.workspace_id,
        model=made.embedding_model_version,
        now=made.created_at,
        bands=[band.model_dump(mode="json") for band in made.bands],
        **made.model_dump(exclude={"embedding_model_version", "created_at", "bands"}),
    )
    return made


async def current(tx: Transaction, method: Method, keyword_weight: float, model: str | None) -> Current | None:
    """None where nothing was learned for the method; for the hybrid's weight; for `model`, but for keywords."""
    row = await _queries.get_current(
        tx.connection,
        workspace_id=tx.workspace_id,
        method=method.value,
        keyword_weight=keyword_weight if method is Method.HYBRID else None,
        model=None if method is Method.KEYWORD else model,
    )
    return None if row is None else Current(row["calibration_id"], Curve(row["scores"], row["confidences"]))


async def list_calibrations(tx: Transaction, cursor: str | None = None, page_size: int = 25) -> CalibrationList:
    """Calibrations, the newest first. Raises `InvalidInput` for a cursor that is not this list's."""
    READ_CALIBRATIONS.check(tx.context)
    before = tx.read_id_cursor("calibrations", cursor)
    rows = await _queries.list_calibrations(
        tx.connection, workspace_id=tx.workspace_id, before=before, page_size=page_size + 1
    )
    page, following = tx.cut_page("calibrations", rows, page_size, lambda row: [row["calibration_id"]])
    return CalibrationList(data=[Calibration(**row) for row in page], page_size=page_size, next_cursor=following)


async def read_calibrations(tx: Transaction, calibration_ids: Collection[UUID]) -> list[Calibration]:
    """Those that are there of `calibration_ids`."""
    if not calibration_ids:
        return []
    READ_CALIBRATIONS.check(tx.context)
    rows = await _queries.read_calibrations(
        tx.connection, workspace_id=tx.workspace_id, calibration_ids=list(calibration_ids)
    )
    return [Calibration(**row) for row in rows]
