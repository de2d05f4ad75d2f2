"""The receiver of OTLP/HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from datalane.agents.permissions import RECORD_RUNS
from datalane.agents.spans.otlp import COMPRESSIONS, MEDIA_TYPES, answer
from datalane.agents.spans.taking import read_batch, take_batch
from datalane.contracts.http import Door, LateTransaction
from datalane.errors import InvalidInput
from datalane.kit.contents import Redaction

_REQUEST: dict[str, Any] = {"schema": {"type": "object", "description": "An ExportTraceServiceRequest."}}
_ANSWER: dict[str, Any] = {"schema": {"type": "object", "description": "An ExportTraceServiceResponse."}}
_BYTES: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": _REQUEST, "application/x-protobuf": _BYTES},
    }
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "What was taken; spans that were rejected are counted.",
        "content": {"application/json": _ANSWER, "application/x-protobuf": _BYTES},
    },
    400: {"description": "It is no request of the protocol."},
    415: {"description": "It is neither protobuf nor JSON, or compressed in another way than gzip or deflate."},
}


def add_span_routes(routes: APIRouter, door: Door) -> None:
    limits, wanted = door.settings.limits, door.settings.agents.redaction
    redaction = Redaction(wanted.names, wanted.detect)

    @routes.post("/otlp/v1/traces", openapi_extra=_BODY, responses=_RESPONSES, response_class=Response)
    async def receive_spans(request: Request, late: LateTransaction = door.uploader(RECORD_RUNS)) -> Response:
        """Take spans of agents over OTLP/HTTP, as protobuf or JSON: each trace is a run. What is known already changes
        nothing, so a request may be sent again."""
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        encoding = MEDIA_TYPES.get(media_type)
        compressions = _compressions(request)
        if encoding is None or compressions is None:
            raise HTTPException(415, "send protobuf or JSON of OTLP/HTTP, as it is or as gzip or deflate")
        if encoding == "protobuf" and "idempotency-key" in request.headers:
            raise HTTPException(400, "spans may be sent again as they are; leave out Idempotency-Key")
        try:
            batch = await asyncio.to_thread(read_batch, await request.body(), encoding, compressions, limits, redaction)
        except InvalidInput as error:  # 400 is the protocol's word for what may not be sent again
            raise HTTPException(400, str(error)) from error
        if batch.traces:
            await take_batch(await late.begin(), batch)
        return Response(answer(batch.rejected.total(), batch.message, encoding), media_type=media_type)


def _compressions(request: Request) -> list[str] | None:
    named = [each.strip().lower() for each in request.headers.get("content-encoding", "").split(",")]
    compressions = [each for each in named if each not in ("", "identity")]
    return compressions if len(compressions) <= 1 and set(compressions) <= set(COMPRESSIONS) else None
