"""Ways to ask for what is not yours. The same list is made for foreign ids and for ids that name nothing, so that the
two series of answers can be compared one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from datalane.demo.targets import Ids
from datalane.kit.cursors import Cursors
from datalane.knowledge.methods import Method


@dataclass(frozen=True, slots=True)
class Attempt:
    """One HTTP request. `form` goes as multipart with a small file; `headers` are beside the session's."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    form: Mapping[str, str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def attempts(
    ids: Ids, asker: UUID, questions: Sequence[str], openapi: Mapping[str, Any], cursors: Cursors
) -> list[Attempt]:
    """Every read route with every kind of id, every retrieval method, and every write that names another's thing.

    `asker` is the workspace of who tries, `cursors` makes cursors as the lane does.
    """
    return [
        *_by_name(ids),
        *_cursors(ids, asker, cursors),
        *_every_read_route(ids, openapi),
        *_questions(questions),
        *_in_their_workspace(ids, questions, openapi),
        *_nested(ids),
        *_changes(ids),
    ]


def _by_name(ids: Ids) -> Iterator[Attempt]:
    for kind in (ids.documents, ids.versions, ids.chunks, ids.jobs):
        for one in kind:
            yield Attempt("GET", f"/documents/{one}")
    for one in ids.responses:
        yield Attempt("GET", "/retrieval/citations", {"response_id": str(one)})
    for one in (*ids.citations, *ids.segments):
        yield Attempt("GET", "/retrieval/citations", {"citation_id": str(one)})


def _cursors(ids: Ids, asker: UUID, cursors: Cursors) -> Iterator[Attempt]:
    """Their own cursors, and such as the asker could make of their places in a list with the lane's key."""
    lists = (("documents", "/documents/list"), ("members", "/workspaces/members/list"), ("api_keys", "/api-keys/list"))
    for listing, path in lists:
        for position in ids.documents if listing == "documents" else ids.users[:1]:
            for workspace_id in (ids.workspaces[0], asker):
                cursor = cursors.make(listing, workspace_id, str(position))
                yield Attempt("GET", path, {"cursor": cursor, "page_size": "100"})


def _every_read_route(ids: Ids, openapi: Mapping[str, Any]) -> Iterator[Attempt]:
    """From the application's own description, so that a route added later is tried too."""
    for path, operation in _reads(openapi):
        names = [one for one in operation.get("parameters", []) if _takes_id(one)]
        for one in (kind[0] for kind in ids.kinds() if kind):
            inside = path
            for parameter in names:
                if parameter["in"] == "path":
                    inside = inside.replace("{" + parameter["name"] + "}", str(one))
            asked = [parameter["name"] for parameter in names if parameter["in"] == "query"]
            if inside != path:
                yield Attempt("GET", inside)
            for name in asked:
                yield Attempt("GET", inside, {name: str(one)})


def _questions(questions: Sequence[str]) -> Iterator[Attempt]:
    for text in questions:
        for method in Method:
            yield Attempt("POST", "/retrieval/query", body={"query": text, "method": method.value, "limit": 100})


def _in_their_workspace(ids: Ids, questions: Sequence[str], openapi: Mapping[str, Any]) -> Iterator[Attempt]:
    """Claiming to act in another workspace, by header and by body."""
    (workspace_id, document_id) = (str(ids.workspaces[0]), str(ids.documents[0]))
    there = {"X-Workspace-Id": workspace_id}
    for path, operation in _reads(openapi):
        inside = path
        for parameter in operation.get("parameters", []):
            inside = inside.replace("{" + parameter["name"] + "}", document_id)
        yield Attempt("GET", inside, headers=there)
    for method in Method:
        question = {"query": questions[0], "method": method.value}
        yield Attempt("POST", "/retrieval/query", body=question, headers=there)
        yield Attempt("POST", "/retrieval/query", body={**question, "workspace_id": workspace_id})


def _nested(ids: Ids) -> Iterator[Attempt]:
    """Naming another's chunk, document or version inside something of one's own."""
    for chunk_id in (*ids.chunks, *ids.versions[:2]):
        citation = {"chunk_id": str(chunk_id), "confidence_score": 0.9}
        body: dict[str, Any] = {"segments": [{"text": "What they wrote.", "citations": [citation]}]}
        yield Attempt("POST", "/retrieval/citations", body=body)
    for document_id in ids.documents:
        yield Attempt("POST", "/documents/upload", form={"document_id": str(document_id)})
        version = {"text": "A newer version of what they wrote.", "document_id": str(document_id)}
        yield Attempt("POST", "/retrieval/index-chunks", body=version)


def _changes(ids: Ids) -> Iterator[Attempt]:
    for document_id in ids.documents:
        yield Attempt("DELETE", f"/documents/{document_id}")
    for user_id in ids.users:
        yield Attempt("POST", "/workspaces/members/change", body={"user_id": str(user_id), "role": "viewer"})
        yield Attempt("POST", "/workspaces/members/remove", body={"user_id": str(user_id)})
    yield Attempt("POST", "/api-keys/revoke", body={"key_id": str(ids.users[0])})


def _reads(openapi: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for path, operations in openapi["paths"].items():
        if "get" in operations:
            yield path, operations["get"]


def _takes_id(parameter: Mapping[str, Any]) -> bool:
    """Whether a parameter is an id or a cursor."""
    if parameter["in"] not in {"path", "query"}:
        return False
    schema = parameter.get("schema", {})
    shapes = [schema, *schema.get("anyOf", [])]
    return any(shape.get("format") == "uuid" for shape in shapes) or parameter["name"] in {"cursor", "id"}
