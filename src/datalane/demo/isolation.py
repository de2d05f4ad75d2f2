"""Trying, over HTTP and as the second workspace's owner, to see or touch what belongs to the first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from datalane.demo.attempts import Attempt, attempts
from datalane.demo.people import Person
from datalane.demo.server import served
from datalane.demo.targets import Property, list_property
from datalane.domains import Runtime
from datalane.lane import Lane

QUESTIONS = 8
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CONTROL = 40


@dataclass(frozen=True, slots=True)
class Isolation:
    """`foreign_rows`: rows of the first workspace in answers to the second, over all attempts. `differences`: answers
    "not found" that tell a foreign thing from a missing one. `foreign_writes`: rows of the first workspace that came,
    went or changed. `control_rows`: what the same detector finds when the first workspace asks; 0 would mean that it
    is blind. `broken`: answers with a status of 500 or more."""

    attempts: int
    foreign_rows: int
    differences: int
    foreign_writes: int
    control_rows: int
    broken: int

    @property
    def holds(self) -> bool:
        return not (self.foreign_rows or self.differences or self.foreign_writes or self.broken) and (
            self.control_rows > 0
        )


class Detector:
    """Finds rows of a workspace in answers."""

    def __init__(self, owned: Property) -> None:
        self._ids = frozenset(str(one) for kind in owned.ids.kinds() for one in kind)
        self._texts = frozenset(owned.texts)

    def count(self, answer: httpx.Response) -> int:
        """Objects of a JSON answer that hold an id or a text of the workspace; of another answer, its ids."""
        if "json" in answer.headers.get("content-type", ""):
            return self._rows(answer.json())
        return len(self._ids.intersection(_UUID.findall(answer.text)))

    def _rows(self, value: Any) -> int:
        if isinstance(value, list):
            return sum(self._rows(one) for one in value) + any(self._owned(one) for one in value)
        if not isinstance(value, dict):
            return int(self._owned(value))
        below = sum(self._rows(one) for one in value.values() if isinstance(one, dict | list))
        return below + any(self._owned(one) for one in value.values())

    def _owned(self, value: Any) -> bool:
        if not isinstance(value, str):
            return False
        return value in self._texts or not self._ids.isdisjoint(_UUID.findall(value))


async def try_the_wall(
    lane: Lane, runtime: Runtime, first: Person, second: Person, questions: Sequence[str]
) -> Isolation:
    """All attempts, each once with the first workspace's ids and once with ids that name nothing."""
    owned = await list_property(lane, first)
    asked = [text for text in (*questions[:QUESTIONS], *(text[:200] for text in owned.texts[:QUESTIONS])) if text]
    detector = Detector(owned)
    async with served(lane, runtime) as url, httpx.AsyncClient(base_url=url, timeout=30) as client:
        openapi = (await client.get("/openapi.json")).json()
        ids, cursors = owned.ids.sample(), lane.database.cursors
        real = attempts(ids, second.workspace_id, asked, openapi, cursors)
        void = attempts(ids.strangers(), second.workspace_id, asked, openapi, cursors)
        found = differ = broken = 0
        for attempt, twin in zip(real, void, strict=True):
            answer = await _send(client, second, attempt)
            empty = answer if attempt == twin else await _send(client, second, twin)
            found += detector.count(answer)
            differ += _differ(answer, empty)
            broken += answer.status_code >= 500
        control = [await _send(client, first, attempt) for attempt in real if _is_read(attempt)][:_CONTROL]
    return Isolation(
        attempts=len(real),
        foreign_rows=found,
        differences=differ,
        foreign_writes=_changes(owned, await list_property(lane, first)),
        control_rows=sum(detector.count(answer) for answer in control),
        broken=broken,
    )


def _is_read(attempt: Attempt) -> bool:
    return attempt.method == "GET" and not attempt.headers


async def _send(client: httpx.AsyncClient, person: Person, attempt: Attempt) -> httpx.Response:
    file = None if attempt.form is None else {"file": ("note.txt", b"A newer version.", "text/plain")}
    return await client.request(
        attempt.method,
        attempt.path,
        params=dict(attempt.params),
        json=attempt.body,
        data=attempt.form,
        files=file,
        headers={**person.headers, **attempt.headers},
    )


def _differ(answer: httpx.Response, empty: httpx.Response) -> bool:
    """Whether "not found" for a foreign thing can be told from "not found" for nothing, but for the correlation id."""
    if 404 not in (answer.status_code, empty.status_code):
        return False
    return (answer.status_code, _body(answer)) != (empty.status_code, _body(empty))


def _body(answer: httpx.Response) -> Any:
    body = answer.json()
    if isinstance(body, dict):
        body.pop("correlation_id", None)
    return body


def _changes(before: Property, after: Property) -> int:
    pairs = zip(before.ids.kinds(), after.ids.kinds(), strict=True)
    return sum(len(set(old) ^ set(new)) for old, new in pairs) + (list(before.texts) != list(after.texts))
