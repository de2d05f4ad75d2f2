"""Request bodies are read whole and checked before a transaction opens: a slow client holds no connection."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from fastapi import params
from fastapi.routing import APIRoute
from starlette.datastructures import UploadFile
from starlette.requests import Request

from datalane.errors import InvalidInput
from datalane.kit.strict_json import parse_json

_PIECE = 1024 * 1024


class CheckedRequest(Request):
    """A request whose JSON was parsed strictly: no NaN, Infinity, duplicate keys, lone surrogates or deep nesting."""

    async def read(self, route: APIRoute) -> None:
        """Read and parse what `route` takes. Raises `InvalidInput`, and `LimitExceeded` past the body's limit."""
        if route.body_field is None:
            return
        if isinstance(route.body_field.field_info, params.Form):
            await self.form()
            return
        body = await self.body()
        if not body:
            return
        if not _is_json(self.headers.get("content-type", "")):
            raise InvalidInput("send the body as JSON, with Content-Type: application/json")
        self._json = parse_json(body)

    async def digest(self) -> bytes:
        """SHA-256 of path, query and body. Of a form its fields, since each encoding of it has another boundary."""
        state = hashlib.sha256(f"{self.url.path}?{self.url.query}\n".encode())
        if self._form is None:
            state.update(await self.body())
            return state.digest()
        for name, value in self._form.multi_items():
            if isinstance(value, UploadFile):
                state.update(f"\n{name}\n{value.filename}\n{value.size}\n".encode())
                await asyncio.to_thread(_add_file, state, value)
            else:
                state.update(f"\n{name}\n{len(value)}\n{value}".encode())
        return state.digest()


def _is_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))


def _add_file(state: Any, upload: UploadFile) -> None:
    upload.file.seek(0)
    while piece := upload.file.read(_PIECE):
        state.update(piece)
    upload.file.seek(0)
