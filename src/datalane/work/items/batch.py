"""Outcomes of a batch as callers see them."""

from __future__ import annotations

from collections.abc import Sequence

from datalane.errors import DatalaneError, InvalidInput, StaleVersion
from datalane.work.items.schemas import BatchResult, RowError, RowResult
from datalane.work.items.service import Outcome


def report(outcomes: Sequence[Outcome]) -> BatchResult:
    """One result a row, in order."""
    results = [
        RowResult(index=index, error=_told(outcome))
        if isinstance(outcome, DatalaneError)
        else RowResult(index=index, item=outcome)
        for index, outcome in enumerate(outcomes)
    ]
    failed = sum(result.error is not None for result in results)
    return BatchResult(results=results, succeeded=len(results) - failed, failed=failed)


def _told(error: DatalaneError) -> RowError:
    errors = error.errors if isinstance(error, InvalidInput) else []
    told = error.told if isinstance(error, StaleVersion) else {}
    return RowError(code=error.code, detail=str(error), status=error.status, errors=errors, **told)
