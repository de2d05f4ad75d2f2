"""The messages that are delivered: what is signed, as it is written down with the delivery."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from datalane.integrations.webhooks.endpoints.service import DELIVER_EVENT
from datalane.kit.encoding import to_json


def write_message(
    event_type: str,
    version: int,
    occurred_at: datetime,
    payload: Any,
    *,
    event_id: UUID | None = None,
    subject_id: str | None = None,
) -> str:
    """`type`, `timestamp` and `data`, as Standard Webhooks recommends, and what else there is to know of the event."""
    message = {"type": event_type, "timestamp": occurred_at, "data": payload, "version": version}
    told = {"event_id": event_id, "subject_id": subject_id}
    message.update({name: value for name, value in told.items() if value is not None})
    return to_json(message, orjson.OPT_UTC_Z).decode()


def is_about_delivery(event_type: str, payload: Any, endpoint_id: UUID) -> bool:
    """Whether an event says what became of the endpoint itself, or of a job that delivers: to deliver that would make
    another one."""
    if not isinstance(payload, dict):
        return False
    if event_type == "webhook.endpoint_disabled":
        return payload.get("endpoint_id") == str(endpoint_id)
    return event_type == "job.dead_lettered" and payload.get("kind") == DELIVER_EVENT
