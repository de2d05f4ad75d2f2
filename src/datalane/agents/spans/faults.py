"""Error classes of the ledger, as told from `error.type` and the types of exceptions, whatever language they are of."""

from __future__ import annotations

import re
from collections.abc import Mapping

from datalane.agents.runs.schemas import ErrorClass

_STATUSES: Mapping[str, ErrorClass] = {
    "400": "validation_error",
    "401": "authz_denied",
    "403": "authz_denied",
    "404": "validation_error",
    "408": "timeout",
    "413": "validation_error",
    "422": "validation_error",
    "503": "dependency_unavailable",
    "504": "timeout",
}
_WORDS: tuple[tuple[str, ErrorClass], ...] = (
    (r"time_?d?.?out|deadline", "timeout"),
    (r"permission|forbidden|unauthori[sz]ed|authenticat|access.?denied", "authz_denied"),
    (r"policy|content.?filter|guardrail|moderation", "policy_denied"),
    (r"connect|unavailable|unknown.?host|dns|network", "dependency_unavailable"),
    (r"rate.?limit|overload|quota|apierror|api.?status|http|provider|server.?error", "provider_error"),
    (r"validation|invalid|bad.?request|valueerror|typeerror|illegalargument", "validation_error"),
)


def error_class_of(error: str, of_model: bool) -> ErrorClass:
    """The class of an error by its type. One that says nothing is the provider's when a model was called, else ours."""
    status = _STATUSES.get(error)
    if status is not None:
        return status
    if len(error) == 3 and error.isdigit():
        return "provider_error"
    for words, error_class in _WORDS:
        if re.search(words, error, re.I):
            return error_class
    return "provider_error" if of_model else "unexpected_internal"
