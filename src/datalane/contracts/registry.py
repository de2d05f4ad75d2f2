"""Event types: name, version, JSON Schema. What is not registered cannot be published.

Built-in types stand below; an application registers its own with `EventRegistry.register`. Schemas are JSON Schema
2020-12.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import jsonschema_rs

from datalane.errors import InvalidInput, SchemaViolation

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_SHOWN_FAULTS = 10
_SHOWN_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class EventType:
    name: str
    version: int
    schema: Mapping[str, Any]


@dataclass
class EventRegistry:
    """The event types this process knows. Registering the same schema twice is harmless."""

    _types: dict[tuple[str, int], EventType] = field(default_factory=dict)
    _validators: dict[tuple[str, int], Any] = field(default_factory=dict)

    def register(self, name: str, schema: Mapping[str, Any], version: int = 1) -> EventType:
        """Raises `InvalidInput` for a malformed name or schema, or another schema under the same version."""
        if not _NAME.fullmatch(name) or version < 1:
            raise InvalidInput(f"event type {name!r} version {version}: write it as noun.verb, versions from 1")
        known = self._types.get((name, version))
        if known is not None and known.schema != schema:
            raise InvalidInput(
                f"event type {name} version {version} is registered with another schema; raise the version"
            )
        try:
            self._validators[name, version] = jsonschema_rs.validator_for(dict(schema))
        except (jsonschema_rs.ValidationError, ValueError) as error:
            raise InvalidInput(f"event type {name} version {version}: not a JSON Schema: {error}") from error
        event_type = EventType(name, version, dict(schema))
        self._types[name, version] = event_type
        return event_type

    def check(self, name: str, version: int, payload: Any) -> None:
        """Raises `InvalidInput` for an unknown type and `SchemaViolation` naming the fields that are wrong."""
        validator = self._validators.get((name, version))
        if validator is None:
            raise InvalidInput(f"the event type {name} version {version} is not registered")
        if validator.is_valid(payload):
            return
        faults = [
            {
                "field": _shortened("/".join(str(part) for part in fault.instance_path)) or "payload",
                "message": _shortened(fault.message),
            }
            for fault, _ in zip(validator.iter_errors(payload), range(_SHOWN_FAULTS), strict=False)
        ]
        raise SchemaViolation(f"the payload of {name} does not match version {version} of its schema", faults)

    def __iter__(self) -> Iterator[EventType]:
        return iter(self._types.values())


def _shortened(message: str) -> str:
    """It holds the value that is wrong, however large."""
    return message if len(message) <= _SHOWN_CHARACTERS else f"{message[:_SHOWN_CHARACTERS]}…"


def _object(required: Mapping[str, str], optional: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A schema of an object with fields of plain types; other fields may be added later."""
    fields = {**required, **(optional or {})}
    return {
        "type": "object",
        "properties": {name: {"type": kind.split("|") if "|" in kind else kind} for name, kind in fields.items()},
        "required": sorted(required),
    }


_CHANGED_PROJECT = {"project_id": "string", "version": "integer", "fields": "array"}
_CHANGED_ITEM = {"item_id": "string", "version": "integer", "fields": "array"}
_STEP = {"from": "string", "to": "string"}
_CONNECTOR = {"connector_id": "string", "kind": "string"}
_AGENT_RUN = {"run_id": "string", "agent": "string", "status": "string"}
_TOLD_OF_RUN = {"thread_id": "string|null", "error_class": "string|null"}
_USED = {"quota_key": "string", "consumed_units": "integer", "limit_units": "integer"}
_USED_OF = {"plan_id": "string", "plan_version": "integer", "period_start": "string", "period_end": "string"}
_ACCESS = {"from": "string", "to": "string", "plan_id": "string|null", "why": "string", "version": "integer"}
_TOLD_OF_ACCESS = {
    "ends_at": "string|null",
    "grace_ends_at": "string|null",
    "source_system": "string|null",
    "source_event_id": "string|null",
}
_MEMBERSHIP = {"workspace_id": "string", "role": "string", "status": "string"}

BUILT_IN: Mapping[str, dict[str, Any]] = {
    "workspace.created": _object({"workspace_id": "string", "name": "string"}, {"owner_id": "string"}),
    "membership.added": _object(
        {"user_id": "string", "role": "string"}, {"workspace_id": "string", "status": "string"}
    ),
    "membership.changed": _object({"user_id": "string"}, _MEMBERSHIP),
    "membership.removed": _object({"user_id": "string"}, _MEMBERSHIP),
    "project.created": _object({"project_id": "string", "version": "integer"}),
    "project.updated": _object(_CHANGED_PROJECT),
    "project.transitioned": _object(_CHANGED_PROJECT | _STEP),
    "project.deleted": _object(_CHANGED_PROJECT),
    "project.restored": _object(_CHANGED_PROJECT),
    "item.created": _object({"item_id": "string", "version": "integer"}, {"project_id": "string|null"}),
    "item.updated": _object(_CHANGED_ITEM),
    "item.transitioned": _object(_CHANGED_ITEM | _STEP),
    "item.deleted": _object(_CHANGED_ITEM),
    "item.restored": _object(_CHANGED_ITEM),
    "document.ingested": _object(
        {"document_id": "string", "version_id": "string", "chunks": "integer"}, {"characters": "integer"}
    ),
    "document.failed": _object({"document_id": "string", "error_class": "string"}),
    "integration.connected": _object(_CONNECTOR, {"outcome": "string", "refreshable": "boolean"}),
    "integration.degraded": _object(_CONNECTOR | {"outcome": "string"}, {"refreshable": "boolean"}),
    "integration.revoked": _object(_CONNECTOR | {"paused": "array"}),
    "integration.sync_failed": _object(_CONNECTOR | {"outcome": "string"}, {"refreshable": "boolean"}),
    "webhook.received": {
        **_object(_CONNECTOR | {"delivery_id": "string"}, {"type": "string|null"}),
        "required": ["body", "connector_id", "delivery_id", "kind"],
    },
    "job.dead_lettered": _object(
        {"job_id": "string", "kind": "string", "reason": "string"},
        {"error_class": "string|null", "attempt_count": "integer"},
    ),
    "notification.created": _object({"category": "string", "title": "string", "notification_ids": "array"}),
    "webhook.endpoint_disabled": _object({"endpoint_id": "string", "reason": "string"}),
    "agent.run.queued": _object(_AGENT_RUN, _TOLD_OF_RUN),
    "agent.run.retrying": _object(_AGENT_RUN, _TOLD_OF_RUN),
    "agent.run.started": _object(_AGENT_RUN, _TOLD_OF_RUN),
    "agent.run.completed": _object(_AGENT_RUN, _TOLD_OF_RUN),
    "agent.run.failed": _object(_AGENT_RUN, _TOLD_OF_RUN),
    "agent.run.escalated": _object(_AGENT_RUN, _TOLD_OF_RUN),
    "agent.tool.called": _object(
        {"run_id": "string", "tool_call_id": "string", "tool": "string", "status": "string"},
        {"tool_version": "integer|null", "attempt_count": "integer", "error_class": "string|null"},
    ),
    "usage.threshold_reached": _object(_USED | {"percent": "integer"}, _USED_OF),
    "usage.limit_reached": _object(_USED, _USED_OF),
    "access.signaled": _object({"signed": "string"}),
    "access.activated": _object(_ACCESS, _TOLD_OF_ACCESS),
    "access.changed": _object(_ACCESS, _TOLD_OF_ACCESS),
    "access.deactivated": _object(_ACCESS, _TOLD_OF_ACCESS),
    "security.anomaly": _object({"kind": "string"}, {"detail": "string", "user_id": "string", "session_id": "string"}),
}


def built_in_registry() -> EventRegistry:
    registry = EventRegistry()
    for name, schema in BUILT_IN.items():
        registry.register(name, schema)
    return registry


EVENTS = built_in_registry()
"""The process's registry."""
