"""Versions in HTTP: an answer says its version as `ETag`, a request may say the one it saw as `If-Match` (RFC 9110)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Header
from pydantic import BaseModel
from starlette.responses import Response

from datalane.db.transaction import Transaction
from datalane.errors import InvalidInput, PreconditionFailed, StaleVersion
from datalane.work.editing import Versioned

_TAG = re.compile(r'"([1-9][0-9]{0,17})"')

T = TypeVar("T", bound=Versioned)
B = TypeVar("B", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Precondition:
    """The version that a request says in its header, if it says one, and the answer that says the version it made."""

    if_match: str | None
    response: Response

    async def edit(self, act: Callable[[Transaction, B], Awaitable[T]], tx: Transaction, body: B) -> T:
        """What `act` makes of the version that the header or the body says.

        Raises `InvalidInput` for a malformed or contradicting header, `PreconditionFailed` when it is stale.
        """
        try:
            return tagged(await act(tx, self._seen(body)), self.response)
        except StaleVersion as error:
            if self.if_match is None:
                raise
            raise PreconditionFailed(str(error), error.told) from error

    def _seen(self, body: B) -> B:
        if self.if_match is None:
            return body
        found = _TAG.fullmatch(self.if_match.strip())
        if found is None:
            raise _refused('If-Match takes one ETag as an answer gave it, such as "3"')
        version, said = int(found[1]), getattr(body, "version", None)
        if said not in (None, version):
            raise _refused(f"If-Match says version {version} and the body {said}; send one of them")
        return body.model_copy(update={"version": version})


async def _precondition(
    response: Response,
    if_match: Annotated[str | None, Header(description="the ETag of the version that you saw")] = None,
) -> Precondition:
    return Precondition(if_match, response)


IfMatch = Annotated[Precondition, Depends(_precondition)]
"""A parameter of a route that edits: with it the route takes `If-Match` and answers `ETag`."""


def tagged(thing: T, response: Response) -> T:
    """`thing`, with its version as the answer's ETag."""
    response.headers["ETag"] = f'"{thing.version}"'
    return thing


def _refused(message: str) -> InvalidInput:
    return InvalidInput(message, [{"field": "header.if-match", "message": message, "code": "invalid_if_match"}])
