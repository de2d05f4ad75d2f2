"""Database errors in Datalane's words. Verbs raise SQLSTATEs of class DL; the rest is mapped by meaning."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from datalane.errors import (
    Conflict,
    DatabaseUnavailable,
    DatalaneError,
    Forbidden,
    IllegalTransition,
    InvalidInput,
    LeaseLost,
    LimitExceeded,
    NotFound,
)

VERB_ERRORS: dict[str, type[DatalaneError]] = {
    "DL400": InvalidInput,
    "DL403": Forbidden,
    "DL404": NotFound,
    "DL409": Conflict,
    "DL410": LeaseLost,
    "DL411": IllegalTransition,
    "DL413": LimitExceeded,
}

_UNAVAILABLE = ("08", "53", "57P", "58")


@contextmanager
def translated() -> Iterator[None]:
    """Raise database errors as Datalane's own, with the original as cause."""
    try:
        yield
    except asyncpg.PostgresError as error:
        ours = translate(error)
        if ours is None:
            raise
        raise ours from error
    except (ConnectionError, TimeoutError, OSError, asyncpg.InterfaceError) as error:
        if isinstance(error, asyncpg.InterfaceError) and "closed" not in str(error):
            raise
        raise DatabaseUnavailable(f"the database does not answer: {error or type(error).__name__}") from error


def translate(error: asyncpg.PostgresError) -> DatalaneError | None:
    """The matching error, or None when the fault is ours to fix and should surface as it is."""
    state = error.sqlstate or ""
    if state in VERB_ERRORS:
        return VERB_ERRORS[state](str(error))
    if state == "42501":
        return Forbidden(f"the database refuses: {error}", denial="row_level_security")
    if state.startswith(_UNAVAILABLE):
        return DatabaseUnavailable(f"the database refuses work: {error}")
    return None
