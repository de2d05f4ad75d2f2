"""`/docs`: the OpenAPI document as one page that loads nothing from elsewhere."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881 }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 2rem; border-bottom: 1px solid var(--line) }
details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; padding: .4rem .8rem }
summary { cursor: pointer } code, pre { font: 13px/1.45 ui-monospace, monospace }
pre { background: var(--soft); padding: .6rem; overflow-x: auto; border-radius: 4px }
.method { display: inline-block; min-width: 4.5em; font-weight: 600 } .role { opacity: .7; float: right }
td { padding: .1rem 1rem .1rem 0; vertical-align: top }
"""


def install(app: FastAPI) -> None:
    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        return HTMLResponse(render(app.openapi(), str(request.scope.get("root_path", ""))))


def render(document: dict[str, Any], root_path: str = "") -> str:
    """The page of an OpenAPI document."""
    groups: dict[str, list[str]] = {}
    schemas = document.get("components", {}).get("schemas", {})
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = (operation.get("tags") or ["other"])[0]
            groups.setdefault(tag, []).append(_operation(method, path, operation, schemas))
    info = document["info"]
    body = "".join(f"<h2>{escape(tag)}</h2>{''.join(entries)}" for tag, entries in groups.items())
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>"
        f"<p>{escape(info.get('description', ''))}</p>"
        f'<p>Machine-readable: <a href="{escape(root_path)}/openapi.json">openapi.json</a></p>{body}</body></html>'
    )


def _operation(method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    role = f'<span class="role">{escape(operation["x-role"])} and above</span>' if "x-role" in operation else ""
    parts = [f"<p>{escape(operation.get('description', ''))}</p>", _parameters(operation.get("parameters", []))]
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<h4>Body <code>{escape(media_type)}</code></h4>{_schema(content.get('schema', {}), schemas)}")
    problems = []
    for status, response in operation.get("responses", {}).items():
        if "application/problem+json" in response.get("content", {}):
            problems.append(f"<tr><td>{escape(status)}</td><td>{escape(response.get('description', ''))}</td></tr>")
            continue
        for media_type, content in response.get("content", {}).items():
            heading = f"<h4>{escape(status)} <code>{escape(media_type)}</code></h4>"
            parts.append(heading + _schema(content.get("schema", {}), schemas))
    if problems:
        parts.append(f"<h4>Problems</h4><table>{''.join(problems)}</table>")
    return (
        f'<details><summary><span class="method">{method.upper()}</span> <code>{escape(path)}</code>{role}</summary>'
        f"{''.join(parts)}</details>"
    )


def _parameters(parameters: list[dict[str, Any]]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(one['name'])}</code></td><td>{escape(one['in'])}</td>"
        f"<td>{escape(one.get('description', ''))}</td></tr>"
        for one in parameters
    )
    return f"<table>{rows}</table>" if rows else ""


def _schema(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    name = schema.get("$ref", "").rpartition("/")[2]
    shown = schemas.get(name, schema) if name else schema
    return f"<pre>{escape(json.dumps(shown, indent=2, ensure_ascii=False))}</pre>"
