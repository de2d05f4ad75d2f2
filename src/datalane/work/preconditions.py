"""Versions in HTTP: an answer says its version as `ETag`, a request may say the one it saw as `If-Match` (RFC 9110)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, TypeVar

from fastapi import Header
from pydantic import BaseModel
from starlette.responses import Response

from datalane.errors import InvalidInput, PreconditionFailed, StaleVersion
from datalane.work.editing import Versioned

IfMatch = Annotated[str | None, Header(description="the ETag of the version that you saw")]

_TAG = re.compile(r'"([1-9][0-9]{0,17})"')

T = TypeVar("T", bound=Versioned)
B = TypeVar("B", bound=BaseModel)


def seen(body: B, if_match: str | None) -> B:
    """`body` with the version that the header says. Raises `InvalidInput` for a malformed or contradicting header."""
    if if_match is None:
        return body
    found = _TAG.fullmatch(if_match.strip())
    if found is None:
        raise _refused('If-Match takes one ETag as an answer gave it, such as "3"')
    version, said = int(found[1]), getattr(body, "version", None)
    if said not in (None, version):
        raise _refused(f"If-Match says version {version} and the body {said}; send one of them")
    return body.model_copy(update={"version": version})


@contextmanager
def precondition(if_match: str | None) -> Iterator[None]:
    """A version that came as a header and is stale is a failed precondition."""
    try:
        yield
    except StaleVersion as error:
        if if_match is None:
            raise
        raise PreconditionFailed(str(error), error.told) from error


def tagged(thing: T, response: Response) -> T:
    """`thing`, with its version as the answer's ETag."""
    response.headers["ETag"] = f'"{thing.version}"'
    return thing


def _refused(message: str) -> InvalidInput:
    return InvalidInput(message, [{"field": "header.if-match", "message": message, "code": "invalid_if_match"}])
