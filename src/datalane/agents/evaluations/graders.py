"""Graders: what an output is worth, as scores from 0 to 1.

A grader reads what it needs besides the output, and decides in a thread, so that large outputs keep nobody waiting. It
raises `Ungradable` where the case does not say what is wanted, or the output does not have what is graded.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol
from uuid import UUID

from datalane.agents.evaluations.schemas import DatasetCase, GraderSaid
from datalane.agents.versions.schemas import OutputSchemaWithText
from datalane.contracts.conformance import conforms
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.kit.measuring import MEASURES, measure_queries

SEARCH: Final = "knowledge.search"
_DEPTH: Final = 100
"""Documents of a ranking that count: the measures look at no more."""

_queries = load_queries(__file__, "graders.sql")


class Ungradable(Exception):
    """A grader cannot say what the output is worth."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An output of an agent: JSON, as it came back from `run_id`."""

    case: DatasetCase
    output: Any
    run_id: UUID
    transaction: Callable[[], AbstractAsyncContextManager[Transaction]]


class Grader(Protocol):
    @property
    def said(self) -> GraderSaid:
        """Its name, the names of its scores, and what else decides what it says."""
        ...

    async def grade(self, attempt: Attempt) -> Mapping[str, float]:
        """Every one of its scores. Raises `Ungradable`, and whatever else stands in the way."""
        ...


@dataclass(frozen=True, slots=True)
class Exact:
    """1 where the output, or its `member`, is what the case expects, as JSON: 1 is 1.0, and white space around texts
    does not count. Else 0."""

    member: str | None = None

    @property
    def said(self) -> GraderSaid:
        return GraderSaid(name="exact", scores=["exact"], settings=_settings(member=self.member))

    async def grade(self, attempt: Attempt) -> Mapping[str, float]:
        if attempt.case.expected is None:
            raise Ungradable("the case does not say what is expected")
        given = member_of(attempt.output, self.member)
        return {"exact": float(await asyncio.to_thread(are_equal, given, attempt.case.expected))}


@dataclass(frozen=True, slots=True)
class Schema:
    """1 where the output is as a registered version of an output schema says, else 0."""

    schema: OutputSchemaWithText

    @property
    def said(self) -> GraderSaid:
        settings = _settings(output_schema_version_id=str(self.schema.output_schema_version_id))
        return GraderSaid(name="schema", scores=["schema"], settings=settings)

    async def grade(self, attempt: Attempt) -> Mapping[str, float]:
        return {"schema": float(await asyncio.to_thread(conforms, self.schema.json_schema, attempt.output))}


FindCitations = Callable[[Transaction, Sequence[UUID]], Awaitable[set[UUID]]]
"""Those of the ids that are citations of the workspace and are not suppressed."""


@dataclass(frozen=True, slots=True)
class Citations:
    """The share of the sentences of the output that have a citation which stands. `member` of the output has the
    sentences, each with its `citation_ids`. `find` is `datalane.knowledge.moderation.service.standing_citations`."""

    find: FindCitations
    member: str = "sentences"

    @property
    def said(self) -> GraderSaid:
        return GraderSaid(name="citations", scores=["citations"], settings=_settings(member=self.member))

    async def grade(self, attempt: Attempt) -> Mapping[str, float]:
        cited = await asyncio.to_thread(cited_ids, member_of(attempt.output, self.member))
        named = sorted(set[UUID]().union(*cited))
        async with attempt.transaction() as tx:
            standing = await self.find(tx, named)
        return {"citations": sum(not ids.isdisjoint(standing) for ids in cited) / len(cited)}


@dataclass(frozen=True, slots=True)
class Retrieval:
    """nDCG@10, R@100 and RR@10 of the documents that the run's calls of `tool_name` found, in that order, or of those
    that a `member` of the output lists by id or source URI."""

    member: str | None = None
    tool_name: str = SEARCH
    scores: ClassVar[tuple[str, ...]] = MEASURES

    @property
    def said(self) -> GraderSaid:
        settings = _settings(member=self.member, tool_name=None if self.member else self.tool_name)
        return GraderSaid(name="retrieval", scores=[*self.scores], settings=settings)

    async def grade(self, attempt: Attempt) -> Mapping[str, float]:
        relevant = attempt.case.relevant
        if not relevant or not any(relevant.values()):
            raise Ungradable("the case does not say which documents are relevant")
        if self.member is not None:
            found = listed_documents(member_of(attempt.output, self.member))
        else:
            async with attempt.transaction() as tx:
                rows = await _queries.list_found(
                    tx.connection, workspace_id=tx.workspace_id, run_id=attempt.run_id, tool_name=self.tool_name
                )
            if not rows:
                raise Ungradable(f"the run made no call of {self.tool_name} that succeeded")
            found = [(row["document_id"], row["source_uri"]) for row in rows if row["document_id"] is not None]
        return await asyncio.to_thread(measure_found, found, relevant)


Function = Callable[[Attempt], float | Awaitable[float]]


@dataclass(frozen=True, slots=True)
class Custom:
    """What a function of the application says, under a name. One that is no coroutine runs in a thread. `settings` are
    kept with the evaluation: scores of other settings are not compared."""

    name: str
    function: Function
    settings: Mapping[str, Any] | None = None

    @property
    def said(self) -> GraderSaid:
        return GraderSaid(name=self.name, scores=[self.name], settings=dict(self.settings or {}))

    async def grade(self, attempt: Attempt) -> Mapping[str, float]:
        if inspect.iscoroutinefunction(self.function):
            return {self.name: await self.function(attempt)}
        given = await asyncio.to_thread(self.function, attempt)
        return {self.name: await given if inspect.isawaitable(given) else given}


def member_of(output: Any, member: str | None) -> Any:
    """A member of the output, or all of it. Raises `Ungradable` where it has none of this name."""
    if member is None:
        return output
    if not isinstance(output, Mapping) or member not in output:
        raise Ungradable(f"the output has no member {member!r}")
    return output[member]


def are_equal(one: Any, other: Any) -> bool:
    """As JSON values. True is not 1 there, as it is in Python."""
    if isinstance(one, str) and isinstance(other, str):
        return one.strip() == other.strip()
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(are_equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(are_equal, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


def cited_ids(sentences: Any) -> list[set[UUID]]:
    """Of each sentence the citations that it names; what is no id names none. Raises `Ungradable`."""
    if not isinstance(sentences, list) or not all(isinstance(each, Mapping) for each in sentences):
        raise Ungradable("the sentences of the output are no list of objects")
    if not sentences:
        raise Ungradable("the output has no sentences")
    return [_ids(each.get("citation_ids")) for each in sentences]


def listed_documents(listed: Any) -> list[tuple[str, str | None]]:
    """Documents by id or source URI, as an output lists them. Raises `Ungradable`."""
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise Ungradable("the documents of the output are no list of texts")
    return [(each, None) for each in listed]


def measure_found(found: Sequence[tuple[str, str | None]], relevant: Mapping[str, int]) -> dict[str, float]:
    """The measures of documents with their source URIs, the best first; a document counts where it comes first."""
    ranked: dict[str, float] = {}
    for document_id, source_uri in found:
        known = source_uri if source_uri is not None and source_uri in relevant else document_id
        if len(ranked) < _DEPTH:
            ranked.setdefault(known, float(_DEPTH - len(ranked)))
    return measure_queries({"case": dict(relevant)}, {"case": ranked})["case"]


def _ids(said: Any) -> set[UUID]:
    found = set()
    for each in said if isinstance(said, list) else ():
        try:
            found.add(UUID(each))
        except (ValueError, AttributeError, TypeError):
            continue
    return found


def _settings(**said: Any) -> dict[str, Any]:
    return {name: value for name, value in said.items() if value is not None}
