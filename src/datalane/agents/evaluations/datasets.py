"""Datasets: cases under a name, added, read and listed. The same cases under the same name are the same version."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

import orjson

from datalane.agents.evaluations.schemas import (
    AddedDataset,
    AgentDataset,
    AgentDatasetCases,
    AgentDatasetPage,
    DatasetCase,
    NewDataset,
)
from datalane.agents.permissions import ADD_DATASETS, READ_EVALUATIONS
from datalane.agents.runs.recording import DEPTH
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.audit import record
from datalane.errors import Conflict, InvalidInput, NotFound
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7
from datalane.kit.jsonlimits import encode_within

_WRITTEN_BYTES = 4 * 1024 * 1024
"""Cases are written so much at a time."""

_queries = load_queries(__file__, "datasets.sql")


@dataclass(frozen=True, slots=True)
class _Row:
    ordinal: int
    case_id: str
    input: str
    expected: str | None
    relevant: str | None

    @property
    def size(self) -> int:
        return len(self.input) + len(self.expected or "") + len(self.relevant or "")


async def add_dataset(tx: Transaction, new: NewDataset, now: datetime | None = None) -> AddedDataset:
    """The version of these cases, which is made if it is not there. The order of the cases makes no other version: what
    is measured is a set. Of two at once with the same cases, one makes it.

    Raises `InvalidInput` for a case that stands in it twice or has no input, `LimitExceeded` for a large one,
    `Conflict` when raw SQL took the number meanwhile.
    """
    ADD_DATASETS.check(tx.context)
    tx = tx.following()
    _check(new.cases)
    rows, sha256 = await asyncio.to_thread(_encode, new.cases, tx.limits.artifact)
    known = await _find(tx, new.name, sha256)
    if known is not None:
        return AddedDataset(**known.model_dump(), created=False)
    await _queries.lock_name(tx.connection, workspace_id=tx.workspace_id, name=new.name)
    dataset_version_id = uuid7()
    done = await _queries.add_dataset(
        tx.connection,
        workspace_id=tx.workspace_id,
        dataset_version_id=dataset_version_id,
        name=new.name,
        sha256=sha256,
        cases=len(rows),
        now=now or utc_now(),
        actor_id=tx.context.actor_id,
    )
    dataset, created = await _find(tx, new.name, sha256), done == "INSERT 0 1"
    if dataset is None:
        raise Conflict("another version of the dataset was made meanwhile; add it again")
    if created:
        await _write(tx, dataset, rows)
        said = {"name": dataset.name, "version": dataset.version, "sha256": dataset.sha256, "cases": dataset.cases}
        await record(tx, "agent_dataset.added", "agent_dataset", dataset.dataset_version_id, after=said)
    return AddedDataset(**dataset.model_dump(), created=created)


async def get_dataset(
    tx: Transaction, dataset_version_id: UUID, cursor: str | None = None, page_size: int = 25
) -> AgentDatasetCases:
    """A version with a page of its cases. Raises `NotFound`, `InvalidInput` for a cursor that is not this list's."""
    READ_EVALUATIONS.check(tx.context)
    listing = f"agent dataset:{dataset_version_id}"
    place = tx.read_cursor(listing, cursor)
    dataset = await find_dataset(tx, dataset_version_id)
    rows = await _queries.list_cases(
        tx.connection,
        workspace_id=tx.workspace_id,
        dataset_version_id=dataset_version_id,
        behind=place[0] if place else 0,
        page_size=page_size + 1,
    )
    page, following = tx.cut_page(listing, rows, page_size, lambda row: [row["ordinal"]])
    return AgentDatasetCases(
        dataset=dataset, data=[_case(row) for row in page], page_size=page_size, next_cursor=following
    )


async def list_datasets(
    tx: Transaction, name: str | None = None, cursor: str | None = None, page_size: int = 25
) -> AgentDatasetPage:
    """Versions without their cases, the newest first. Raises `InvalidInput` for a cursor that is not this list's."""
    READ_EVALUATIONS.check(tx.context)
    listing = f"agent datasets:{name}"
    rows = await _queries.list_datasets(
        tx.connection,
        workspace_id=tx.workspace_id,
        name=name,
        before=tx.read_id_cursor(listing, cursor),
        page_size=page_size + 1,
    )
    page, following = tx.cut_page(listing, rows, page_size, lambda row: [row["dataset_version_id"]])
    return AgentDatasetPage(data=[AgentDataset(**row) for row in page], page_size=page_size, next_cursor=following)


async def find_dataset(tx: Transaction, dataset_version_id: UUID) -> AgentDataset:
    """Raises `NotFound`."""
    row = await _queries.get_dataset(tx.connection, workspace_id=tx.workspace_id, dataset_version_id=dataset_version_id)
    if row is None:
        raise NotFound("no such version of a dataset")
    return AgentDataset(**row)


async def read_cases(
    tx: Transaction, dataset_version_id: UUID, behind: int, most: int
) -> list[tuple[int, DatasetCase]]:
    """Cases behind a place, with theirs."""
    rows = await _queries.list_cases(
        tx.connection,
        workspace_id=tx.workspace_id,
        dataset_version_id=dataset_version_id,
        behind=behind,
        page_size=most,
    )
    return [(row["ordinal"], _case(row)) for row in rows]


async def read_case_ids(tx: Transaction, dataset_version_id: UUID) -> dict[str, int]:
    """The place of each case by its id."""
    rows = await _queries.list_case_ids(
        tx.connection, workspace_id=tx.workspace_id, dataset_version_id=dataset_version_id
    )
    return {row["case_id"]: row["ordinal"] for row in rows}


def _check(cases: Sequence[DatasetCase]) -> None:
    seen = set[str]()
    for place, case in enumerate(cases):
        if case.case_id in seen:
            raise _refused(f"body.cases.{place}.case_id", "stands in the dataset twice")
        if case.input is None:
            raise _refused(f"body.cases.{place}.input", "must not be null: a case gives the agent something")
        seen.add(case.case_id)


def _encode(cases: Sequence[DatasetCase], most: int) -> tuple[list[_Row], bytes]:
    """The cases as they are stored, and their digest."""
    rows, digests = [], dict[str, bytes]()
    for place, case in enumerate(cases):
        texts = {
            part: None if value is None else encode_within(value, f"cases.{place}.{part}", most, DEPTH)
            for part, value in (("input", case.input), ("expected", case.expected), ("relevant", case.relevant))
        }
        assert texts["input"] is not None
        rows.append(_Row(place + 1, case.case_id, texts["input"], texts["expected"], texts["relevant"]))
        said = orjson.dumps(case.model_dump(), option=orjson.OPT_SORT_KEYS)
        digests[case.case_id] = hashlib.sha256(said).digest()
    return rows, hashlib.sha256(b"".join(digests[case_id] for case_id in sorted(digests))).digest()


async def _write(tx: Transaction, dataset: AgentDataset, rows: Sequence[_Row]) -> None:
    for some in _batches(rows):
        await _queries.add_cases(
            tx.connection,
            workspace_id=tx.workspace_id,
            dataset_version_id=dataset.dataset_version_id,
            cases=dataset.cases,
            ordinals=[row.ordinal for row in some],
            case_ids=[row.case_id for row in some],
            inputs=[row.input for row in some],
            expected=[row.expected for row in some],
            relevant=[row.relevant for row in some],
        )


def _batches(rows: Sequence[_Row]) -> Iterator[list[_Row]]:
    before = 0

    def number(row: _Row) -> int:
        nonlocal before
        before += row.size
        return before // _WRITTEN_BYTES

    for _, some in groupby(rows, number):
        yield list(some)


async def _find(tx: Transaction, name: str, sha256: bytes) -> AgentDataset | None:
    row = await _queries.find_dataset(tx.connection, workspace_id=tx.workspace_id, name=name, sha256=sha256)
    return None if row is None else AgentDataset(**row)


def _case(row: Any) -> DatasetCase:
    return DatasetCase(case_id=row["case_id"], input=row["input"], expected=row["expected"], relevant=row["relevant"])


def _refused(field: str, message: str) -> InvalidInput:
    return InvalidInput(f"{field} {message}", [{"field": field, "message": message, "code": "invalid_case"}])
