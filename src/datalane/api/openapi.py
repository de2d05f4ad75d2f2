"""The OpenAPI document: what FastAPI derives, plus what the door adds to every route."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import iter_route_contexts

from datalane.api.door import Access, DoorRoute

_PROBLEM = {
    "type": "object",
    "description": "RFC 9457 problem document",
    "required": ["type", "title", "status", "detail", "code", "correlation_id"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "description": "stable and machine-readable"},
        "correlation_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {name: {"type": "string"} for name in ("field", "message", "code")},
            },
        },
        "current": {"type": "object", "description": "the row as it is now, when the version sent is stale"},
        "changed_fields": {"type": "array", "items": {"type": "string"}, "description": "changed since that version"},
        "conflicting_fields": {
            "type": "array",
            "items": {"type": "string"},
            "description": "those of them that the request would change too",
        },
    },
}
_REASONS = {
    400: "the form cannot be read",
    401: "no good credential",
    403: "the role, or the kind of credential, may not do this",
    404: "it does not exist, or belongs to another workspace",
    409: "the state of the thing forbids it, or a request with the same key is being answered",
    412: "the version of If-Match is stale; the answer has the current row",
    413: "a limit of the lane, which the answer names",
    422: "the request is not valid",
    429: "too many attempts, or open streams; try again after Retry-After seconds",
    500: "something failed inside",
    503: "the database does not answer, or a stream finds no room",
    507: "the lane's disk is full",
}
"""What a problem with each status means."""
_BEARER = {"type": "http", "scheme": "bearer", "description": "A session token or an API key (`dl_…`)"}


def install(app: FastAPI) -> None:
    """Give `app` its own `openapi()`, computed once."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = describe(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def access_by_operation(app: FastAPI) -> dict[tuple[str, str], Access | None]:
    """What each operation (method, path) needs; None for a public one."""
    found: dict[tuple[str, str], Access | None] = {}
    for route in iter_route_contexts(app.routes):
        original = route.original_route
        access = original.access if isinstance(original, DoorRoute) else None
        for method in route.methods or ():
            found[(method, route.path or "")] = access
    return found


def describe(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, servers=app.servers
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for derived in ("HTTPValidationError", "ValidationError"):
        schemas.pop(derived, None)
    schemas["Problem"] = _PROBLEM
    components["securitySchemes"] = {"bearer": _BEARER}
    needs = access_by_operation(app)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _complete(operation, needs.get((method.upper(), path)), method)
    return document


def _complete(operation: dict[str, Any], access: Access | None, method: str) -> None:
    responses = operation.setdefault("responses", {})
    responses.pop("422", None)
    responses |= {str(status): _problem(status) for status in sorted(_statuses(operation, access, method))}
    parameters = operation.setdefault("parameters", [])
    parameters.append(_header("X-Correlation-Id", "ties the request to everything it causes; made when absent"))
    if access is None:
        return
    operation["security"] = [{"bearer": []}]
    if access.permission is not None:
        operation["x-permission"] = access.permission.name
        operation["x-role"] = access.permission.least.value
    parameters.append(_header("X-Workspace-Id", "the workspace to act in; the oldest membership when absent"))
    if access.writes and method != "get":
        parameters.append(_header("Idempotency-Key", "the same key and body get the stored answer for 24 hours"))


def _statuses(operation: dict[str, Any], access: Access | None, method: str) -> set[int]:
    """The problems that a route may answer with: of the layers around every route, its guard, its body and its work."""
    found = {422, 500, 503} | {int(status) for status in operation["responses"] if int(status) in _REASONS}
    content = operation.get("requestBody", {}).get("content", {})
    if content:
        found |= {413}
    if "multipart/form-data" in content:
        found |= {400}
    if access is not None:
        found |= {401, 403, 404}
    elif method != "get":
        found |= {401, 403, 429}
    if method != "get":
        found |= {409}
    if any(parameter["name"] == "if-match" for parameter in operation.get("parameters", ())):
        found |= {412}
    if access is not None and access.late:
        found |= {507}
    return found


def _problem(status: int) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": _REASONS[status], "content": content}


def _header(name: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string"},
    }
