"""Database errors in Datalane's words. Verbs raise SQLSTATEs of class DL; the rest is mapped by meaning."""

from __future__ import annotations

from typing import Any

import asyncpg

from datalane.errors import (
    ConfigurationError,
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

_UNAVAILABLE = ("08", "28", "3D", "53", "57P", "58")


class _Translated:
    """Holds no state, so one serves all; a generator would cost more than the check it makes."""

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if error is None:
            return
        ours = _of_any(error)
        if ours is not None:
            raise ours from error


class _Stepping(_Translated):
    __slots__ = ()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, asyncpg.InvalidParameterValueError | asyncpg.InsufficientPrivilegeError):
            raise ConfigurationError(
                f"the login cannot step into the role it needs: {error}; check DATALANE_ROLE_PREFIX, "
                "and run `datalane init` again: it makes and grants what is missing"
            ) from error
        super().__exit__(kind, error, trace)


_TRANSLATED, _STEPPING = _Translated(), _Stepping()


def translated() -> _Translated:
    """`with translated():` raises database errors as Datalane's own, with the original as cause."""
    return _TRANSLATED


def stepping() -> _Translated:
    """As `translated`, around `SET ROLE`: a role that is missing or not granted is a `ConfigurationError`."""
    return _STEPPING


def _of_any(error: BaseException) -> DatalaneError | None:
    if isinstance(error, asyncpg.PostgresError):
        return translate(error)
    if isinstance(error, asyncpg.InterfaceError) and "closed" not in str(error):
        return None
    if isinstance(error, asyncpg.InternalClientError):  # the server has said goodbye, the socket is not closed yet
        return DatabaseUnavailable(f"the connection to the database broke: {error}")
    if isinstance(error, ConnectionError | TimeoutError | OSError | asyncpg.InterfaceError):
        return DatabaseUnavailable(f"the database does not answer: {str(error) or type(error).__name__}")
    return None


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
