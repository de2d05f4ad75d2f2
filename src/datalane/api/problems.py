"""Errors as RFC 9457 problem documents.

Every problem has `type`, `title`, `status`, `detail`, `code` and `correlation_id`; validation adds `errors`, one entry
for each field. A fault of ours says nothing about the inside: the correlation id finds it in the log.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import asyncpg
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from datalane.api.denials import log_denial
from datalane.errors import (
    Busy,
    Conflict,
    DatabaseUnavailable,
    DatalaneError,
    Forbidden,
    InvalidInput,
    IssuerUnavailable,
    RateLimited,
    StaleVersion,
    Unauthenticated,
    UsageLimitReached,
)
from datalane.kit.logs import get_logger
from datalane.kit.redaction import redact_text

MEDIA_TYPE = "application/problem+json"
_NOT_STORABLE = ("22021", "22P05")

log = get_logger("datalane.api")


@dataclass(frozen=True)
class Problem:
    status: int
    code: str
    detail: str
    errors: list[dict[str, Any]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)
    """Members of the document beside those that every problem has."""


def install(app: FastAPI) -> None:
    """Answer known errors where they are raised; the rest reaches the outermost layer."""
    for kind in (DatalaneError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _handle)


async def _handle(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    if isinstance(error, Forbidden):
        log_denial(request, error.denial, str(error), error.target)
    elif isinstance(error, Unauthenticated | RateLimited | UsageLimitReached):
        log_denial(request, error.code, str(error))
    elif problem.status >= 500:
        log_failure(error)
    return answer(problem, request)


def log_failure(error: Exception) -> None:
    """What was foreseen, as another side that is away, is no news to whoever reads tracebacks: one line says it. The
    rest is told whole."""
    away = isinstance(error, DatabaseUnavailable | IssuerUnavailable | Busy)
    if isinstance(error, DatalaneError) and (away or error.is_told):
        log.warning(error.code, error=str(error))
    else:
        log.error("request_failed", exc_info=error)


def answer(problem: Problem, request: Request) -> Response:
    body: dict[str, Any] = {
        "type": f"urn:datalane:problem:{problem.code}",
        "title": problem.code.replace("_", " ").capitalize(),
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        "correlation_id": request.scope["datalane.trace"].correlation_id,
    }
    if problem.errors:
        body["errors"] = problem.errors
    body |= problem.told
    return JSONResponse(body, problem.status, problem.headers, MEDIA_TYPE)


def problem_of(error: Exception) -> Problem:
    """What to tell the caller about `error`."""
    if isinstance(error, DatalaneError):
        return _known(error)
    if isinstance(error, RequestValidationError):
        return Problem(422, InvalidInput.code, "the request is not valid", _fields(error))
    if isinstance(error, HTTPException):
        return _http(error)
    if isinstance(error, asyncpg.PostgresError) and error.sqlstate in _NOT_STORABLE:
        return Problem(422, InvalidInput.code, "the request holds characters that cannot be stored, such as U+0000")
    if isinstance(error, asyncpg.DeadlockDetectedError | asyncpg.SerializationError):
        return Problem(409, Conflict.code, "another change came in between and nothing was stored; try again")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Problem(507, "storage_full", "the lane's disk is full; nothing was stored")
    return Problem(500, DatalaneError.code, "something failed inside; the log has it under the correlation id")


def _known(error: DatalaneError) -> Problem:
    detail, headers = redact_text(str(error)), {}
    if isinstance(error, DatabaseUnavailable):
        detail, headers = "the database does not answer; try again", {"Retry-After": "5"}
    elif isinstance(error, IssuerUnavailable):
        headers = {"Retry-After": "30"}
    elif isinstance(error, Busy):
        headers = _retry_after(error)
    elif error.status == HTTPStatus.INSUFFICIENT_STORAGE:
        detail = "the lane's disk is full; nothing was stored"
    elif error.status >= 500 and not error.is_told:
        detail = "something failed inside; the log has it under the correlation id"
    elif isinstance(error, Forbidden) and error.denial == "row_level_security":
        detail = "the role may not do this"
    elif isinstance(error, Unauthenticated):
        headers = {"WWW-Authenticate": "Bearer"}
    elif isinstance(error, UsageLimitReached):
        headers = error.http_headers
    elif isinstance(error, RateLimited):
        headers = _retry_after(error)
    told = error.told if isinstance(error, StaleVersion | UsageLimitReached) else {}
    return Problem(error.status, error.code, detail, getattr(error, "errors", []), headers, told)


def _retry_after(error: RateLimited | Busy) -> dict[str, str]:
    return {"Retry-After": str(max(1, round(error.retry_after)))}


def _http(error: HTTPException) -> Problem:
    if error.status_code == HTTPStatus.NOT_FOUND:
        return Problem(404, "not_found", "there is nothing at this path")
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    detail = str(error.detail) if error.status_code < 500 else HTTPStatus(error.status_code).phrase
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = "this path does not take this method"
    return Problem(error.status_code, code, detail, headers=dict(error.headers or {}))


def _fields(error: RequestValidationError) -> list[dict[str, Any]]:
    """Field, message and code of each fault; never the value, which may be a secret."""
    return [
        {"field": ".".join(str(part) for part in fault["loc"]), "message": fault["msg"], "code": fault["type"]}
        for fault in error.errors()
    ]
