"""What is saved of a query, and what is wrong with a saved one now."""

from __future__ import annotations

from typing import Any

from datalane.errors import InvalidInput, LimitExceeded
from datalane.settings import Limits
from datalane.work.fields.definitions import Fields
from datalane.work.query.faults import refused
from datalane.work.query.schemas import ItemQuery, read_query
from datalane.work.query.service import check_query
from datalane.work.views.schemas import View, ViewFault


def saved(query: ItemQuery) -> dict[str, Any]:
    """What was said of `query`, as JSON; what was left out stays open, such as the size of a page."""
    return query.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"cursor"})


def find_faults(query: Any, fields: Fields, limits: Limits) -> list[ViewFault]:
    """What keeps a saved query from being asked now; nothing when it can be."""
    try:
        check_query(read_query(query), fields, limits)
    except InvalidInput as error:
        return [_fault(**fault) for fault in error.errors]
    except LimitExceeded as error:
        return [ViewFault(field="query", message=str(error), code=error.code)]
    return []


def read_valid(view: View) -> ItemQuery:
    """The query of a view. Raises `InvalidInput` with its errors."""
    if view.errors:
        told = refused([fault.model_dump() for fault in view.errors])
        raise InvalidInput(f"the view {view.name!r} cannot be run until it is mended: {told}", told.errors)
    return read_query(view.query)


def _fault(field: str, message: str, code: str) -> ViewFault:
    if code == "unknown_field":  # it was there when the view was saved
        message = "was removed; it is no field of items any more"
    return ViewFault(field=f"query.{field}", message=message, code=code)
