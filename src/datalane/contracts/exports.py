"""The contracts as files: what the folder `contracts/` holds.

| file                              | holds                                                           |
|-----------------------------------|-----------------------------------------------------------------|
| `events/<type>.v<version>.json`   | the JSON Schema of an event's payload                           |
| `dtos/<Name>.json`                | the JSON Schema of a body, with what it refers to               |
| `openapi.json`                    | every route                                                     |

Files are the same for the same code: keys sorted, a newline at the end. `consumers.toml` and `approved.toml` lie
beside them and are written by people.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from datalane.contracts.http_compatibility import Use, component_uses
from datalane.contracts.registry import EventType
from datalane.errors import InvalidInput

OPENAPI = "openapi.json"
HTTP_VERSION = "1"
"""The version of the HTTP contract, which a release of the package does not change."""
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_EVENT_FILE = re.compile(r"events/(?P<name>[a-z0-9_.]+)\.v(?P<version>[0-9]+)\.json")
_COMPONENTS = "#/components/schemas/"


@dataclass(frozen=True)
class Contracts:
    """Events by type and version, the OpenAPI document, and all of it as files by their path in the folder."""

    events: Mapping[tuple[str, int], Mapping[str, Any]]
    openapi: Mapping[str, Any]
    files: Mapping[str, bytes] = field(repr=False)

    @property
    def uses(self) -> dict[str, Use]:
        return component_uses(self.openapi)


def describe_contracts(events: Iterable[EventType], openapi: Mapping[str, Any]) -> Contracts:
    """The contracts of this code."""
    known = {(event.name, event.version): event.schema for event in events}
    document = {**openapi, "info": {**openapi.get("info", {}), "version": HTTP_VERSION}}
    files = {_event_file(*key): _event_schema(*key, schema) for key, schema in known.items()}
    uses = component_uses(document)
    for name, schema in document.get("components", {}).get("schemas", {}).items():
        files[f"dtos/{name}.json"] = _dto_schema(name, schema, document, uses.get(name))
    files[OPENAPI] = document
    written = {path: _write(value) for path, value in sorted(files.items())}
    return parse_contracts(written)


def parse_contracts(files: Mapping[str, bytes]) -> Contracts:
    """The contracts that exported files state. Raises `InvalidInput` naming a file that is no JSON object."""
    events = {}
    openapi: Mapping[str, Any] = {}
    for path, text in files.items():
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise InvalidInput(f"{path} is not JSON: {error}; restore it, or export the contracts again") from error
        if not isinstance(value, dict):
            raise InvalidInput(f"{path} is no JSON object; restore it, or export the contracts again")
        if path == OPENAPI:
            openapi = value
        elif match := _EVENT_FILE.fullmatch(path):
            events[match["name"], int(match["version"])] = value
    return Contracts(events, openapi, files)


def read_folder(folder: Path) -> Contracts:
    """The exported contracts; none when the folder is missing."""
    paths = [*folder.glob("events/*.json"), *folder.glob("dtos/*.json"), *folder.glob(OPENAPI)]
    return parse_contracts({str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)})


def write_folder(folder: Path, contracts: Contracts) -> list[str]:
    """Make the folder hold just these contracts; answers the files that were written or removed."""
    changed = []
    for path, text in contracts.files.items():
        target = folder / path
        if not target.is_file() or target.read_bytes() != text:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text)
            changed.append(path)
    for path in sorted(read_folder(folder).files.keys() - contracts.files.keys()):
        (folder / path).unlink()
        changed.append(path)
    return sorted(changed)


def _event_file(name: str, version: int) -> str:
    return f"events/{name}.v{version}.json"


def _event_schema(name: str, version: int, schema: Mapping[str, Any]) -> dict[str, Any]:
    head = {"$schema": _DIALECT, "$id": f"urn:datalane:event:{name}:{version}", "title": f"{name} version {version}"}
    return {**head, **schema}


def _dto_schema(name: str, schema: Any, document: Mapping[str, Any], use: Use | None) -> dict[str, Any]:
    """Standing alone: the components that it refers to go along as definitions."""
    head: dict[str, Any] = {"$schema": _DIALECT, "$id": f"urn:datalane:dto:{name}"}
    head["x-directions"] = sorted(use.directions) if use else []
    head["x-operations"] = sorted(use.operations) if use else []
    definitions: dict[str, Any] = {}
    body = _localized(schema, document, definitions)
    return {**head, **body, **({"$defs": definitions} if definitions else {})}


def _localized(schema: Any, document: Mapping[str, Any], definitions: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_localized(each, document, definitions) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    pointer = schema.get("$ref")
    if isinstance(pointer, str) and pointer.startswith(_COMPONENTS):
        name = pointer.removeprefix(_COMPONENTS)
        if name not in definitions:
            definitions[name] = True
            definitions[name] = _localized(document["components"]["schemas"][name], document, definitions)
        schema = {**schema, "$ref": f"#/$defs/{name}"}
    return {word: _localized(value, document, definitions) for word, value in schema.items()}


def _write(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
