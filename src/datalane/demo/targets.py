"""What belongs to a workspace: the ids and texts that nobody outside may ever see."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import cycle, islice
from typing import Any
from uuid import UUID, uuid4

from datalane.demo.ingest import queries
from datalane.demo.people import Person
from datalane.lane import Lane

_ALL = 1_000_000
SAMPLE = 12
"""Ids of each kind that attempts are made with."""


@dataclass(frozen=True, slots=True)
class Ids:
    """Ids by what they name; each kind has at least one."""

    documents: tuple[UUID, ...]
    versions: tuple[UUID, ...]
    jobs: tuple[UUID, ...]
    chunks: tuple[UUID, ...]
    citations: tuple[UUID, ...]
    responses: tuple[UUID, ...]
    segments: tuple[UUID, ...]
    events: tuple[UUID, ...]
    users: tuple[UUID, ...]
    workspaces: tuple[UUID, ...]

    def kinds(self) -> list[tuple[UUID, ...]]:
        return [getattr(self, field.name) for field in fields(self)]

    def sample(self) -> Ids:
        """`SAMPLE` of each kind, spread over all; few are repeated."""
        return Ids(*(_spread(kind) for kind in self.kinds()))

    def strangers(self) -> Ids:
        """As many ids that name nothing."""
        return Ids(*(tuple(uuid4() for _ in kind) for kind in self.kinds()))


@dataclass(frozen=True, slots=True)
class Property:
    """All of a workspace. `texts` are its chunks."""

    ids: Ids
    texts: Sequence[str]


async def list_property(lane: Lane, person: Person) -> Property:
    """Read by SQL through the person's own door."""
    scope: dict[str, Any] = {"workspace_id": person.workspace_id, "most": _ALL}
    async with lane.transaction(person.context()) as tx:
        documents = await queries.list_documents(tx.connection, **scope)
        chunks = await queries.list_chunks(tx.connection, **scope)
        citations = await queries.list_citations(tx.connection, **scope)
        events = await queries.list_events(tx.connection, **scope)
    ids = Ids(
        documents=_distinct(row["document_id"] for row in documents),
        versions=_distinct(row["version_id"] for row in documents),
        jobs=_distinct(row["job_id"] for row in documents if row["job_id"]),
        chunks=_distinct(row["chunk_id"] for row in chunks),
        citations=_distinct(row["citation_id"] for row in citations),
        responses=_distinct(row["response_id"] for row in citations),
        segments=_distinct(row["response_segment_id"] for row in citations),
        events=_distinct(row["event_id"] for row in events),
        users=(person.user_id,),
        workspaces=(person.workspace_id,),
    )
    return Property(ids, [row["text"] for row in chunks])


def _distinct(values: Iterable[UUID]) -> tuple[UUID, ...]:
    return tuple(dict.fromkeys(values))


def _spread(values: tuple[UUID, ...]) -> tuple[UUID, ...]:
    step = max(1, len(values) // SAMPLE)
    return tuple(islice(cycle(values[::step]), SAMPLE)) if values else ()
