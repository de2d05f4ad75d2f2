"""Queries by name: every filter and every order alone, and combinations that people use.

For whoever measures or explains: `compose(shape.query, …)` is the statement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from datalane.work.query.schemas import ItemQuery, read_query


@dataclass(frozen=True, slots=True)
class Shape:
    name: str
    query: ItemQuery


@dataclass(frozen=True, slots=True)
class Samples:
    """What the shapes look for. `tags` are at least two, the commonest first, `words` two or more of a title; `since`
    is a moment with items before and after it. `fields` has an indexed key and one of its values, by type."""

    project_id: UUID
    assignee_id: UUID
    created_by: UUID
    since: datetime
    tags: tuple[str, ...]
    words: tuple[str, ...]
    fields: Mapping[str, tuple[str, Any]] = field(default_factory=dict)


SORTS = ("-updated_at", "updated_at", "-created_at", "created_at", "-priority", "priority")


def shapes(samples: Samples, page_size: int = 25) -> list[Shape]:
    """All shapes; those of a type of field that `samples` leaves out are left out."""
    alone = dict(_filters(samples))
    made: list[tuple[str, dict[str, Any], str]] = [(f"sort {sort}", {}, sort) for sort in SORTS]
    made += [(name, filters, "-updated_at") for name, filters in alone.items()]
    made += [(name, filters, sort) for name, filters, sort in _combined(samples)]
    return [
        Shape(name, read_query({"filters": filters, "sort": sort, "page_size": page_size}))
        for name, filters, sort in made
    ]


def _filters(of: Samples) -> Iterator[tuple[str, dict[str, Any]]]:
    until = of.since + timedelta(days=7)
    yield "status", {"status": "active"}
    yield "status in", {"status": ["draft", "active"]}
    yield "project", {"project_id": of.project_id}
    yield "no project", {"project_id": None}
    yield "assignee", {"assignee_id": of.assignee_id}
    yield "assignee in", {"assignee_id": [of.assignee_id, of.created_by]}
    yield "unassigned", {"assignee_id": None}
    yield "created by", {"created_by": of.created_by}
    yield "priority", {"priority": 4}
    yield "priority in", {"priority": [0, 4]}
    yield "priority at least", {"priority": {"gte": 3}}
    yield "created since", {"created_at": {"gte": of.since}}
    yield "created between", {"created_at": {"gte": of.since, "lt": until}}
    yield "created until", {"created_at": {"lt": of.since}}
    yield "updated until", {"updated_at": {"lte": of.since}}
    yield "updated between", {"updated_at": {"gt": of.since, "lt": until}}
    yield "common tag", {"tags": {"any": [of.tags[0]]}}
    yield "rare tag", {"tags": {"any": [of.tags[-1]]}}
    yield "tags any", {"tags": {"any": list(of.tags)}}
    yield "tags all", {"tags": {"all": list(of.tags[:2])}}
    yield "word", {"text": of.words[0]}
    yield "words", {"text": " ".join(of.words)}
    yield "deleted", {"deleted": True}
    for kind, (key, value) in of.fields.items():
        yield f"{kind} field", {"metadata": {key: value}}
        yield f"{kind} field in", {"metadata": {key: [value]}}
        if kind != "boolean":
            yield f"{kind} field at least", {"metadata": {key: {"gte": value}}}


def _combined(of: Samples) -> Iterator[tuple[str, dict[str, Any], str]]:
    week = {"gte": of.since, "lt": of.since + timedelta(days=7)}
    yield "made between by priority", {"created_at": week}, "-priority"
    yield "active made between", {"status": "active", "created_at": week}, "-updated_at"
    yield "changed between by creation", {"updated_at": {"gt": of.since, "lt": week["lt"]}}, "-created_at"
    yield "my open work", {"assignee_id": of.assignee_id, "status": "active"}, "-priority"
    yield "a project's open work", {"project_id": of.project_id, "status": "active"}, "-updated_at"
    yield "urgent and unassigned", {"assignee_id": None, "priority": {"gte": 3}}, "-created_at"
    yield "tag and status", {"tags": {"any": [of.tags[0]]}, "status": "active"}, "-updated_at"
    yield "tag by priority", {"tags": {"any": [of.tags[0]]}}, "-priority"
    yield "tags of a project", {"tags": {"all": list(of.tags[:2])}, "project_id": of.project_id}, "-created_at"
    yield "word in active", {"text": of.words[0], "status": "active"}, "-updated_at"
    yield "word and tag", {"text": of.words[0], "tags": {"any": [of.tags[0]]}}, "-priority"
    yield "deleted since", {"deleted": True, "updated_at": {"gte": of.since}}, "-created_at"
    if "number" in of.fields:
        key, value = of.fields["number"]
        yield "field and status", {"metadata": {key: {"gte": value}}, "status": "active"}, "-updated_at"
        yield "field by creation", {"metadata": {key: {"lte": value}}}, "created_at"
    if "text" in of.fields:
        key, value = of.fields["text"]
        yield "field and tag", {"metadata": {key: value}, "tags": {"any": [of.tags[0]]}}, "-updated_at"
