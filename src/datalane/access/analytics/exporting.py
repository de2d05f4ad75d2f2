"""Events as a Parquet file.

Rows go by in pages and are written in groups, so that memory stays the same however many there are; the file has its
name when it is whole. All pages are of one moment. The library that writes them is an extra (`datalane[parquet]`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datalane.access.permissions import READ_ANALYTICS
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import ConfigurationError, Conflict, InvalidInput

if TYPE_CHECKING:
    from arro3.core import RecordBatch, RecordBatchReader

PAGE, GROUP = 2_000, 20_000
"""Rows that are read at once, and rows of a row group."""
TIMES = ("occurred_at", "received_at")
COLUMNS = {
    "source_event_id": False,
    "event_name": False,
    "event_version": False,
    "occurred_at": False,
    "received_at": False,
    "subject": False,
    "actor_id": False,
    "correlation_id": False,
    "plan_id": True,
    "entitlement_snapshot": False,
    "observed_snapshot": True,
    "payload": False,
}
"""The columns of the file in their order, and whether they may be null: text but for `event_version`, a 32-bit integer,
and the two moments, microseconds of UTC. The snapshots and the payload are JSON."""
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)

Progress = Callable[[int, int], object]
"""Takes how many rows are written and how many there are."""

_queries = load_queries(__file__, "exporting.sql")


def require_parquet() -> None:
    """Raises `ConfigurationError` where the library is missing, saying what to install."""
    try:
        import arro3.core
        import arro3.io  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            "writing Parquet takes arro3-core and arro3-io, which are not installed: pip install 'datalane[parquet]'"
        ) from error


async def export_events(
    tx: Transaction,
    out: Path,
    since: datetime | None = None,
    until: datetime | None = None,
    progress: Progress | None = None,
    page: int = PAGE,
) -> int:
    """Write the events from `since` on and before `until`; answers how many. `tx` has done nothing yet.

    Raises `ConfigurationError` without the library, `Conflict` for a file that is there, and `InvalidInput` for a
    folder that is not, or cannot be written to.
    """
    READ_ANALYTICS.check(tx.context)
    require_parquet()
    await asyncio.to_thread(_require_new, out)
    await tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    span = {"workspace_id": tx.workspace_id, "since": since, "until": until}
    total = int(await _queries.count_exported(tx.connection, **span))
    pages = _Pages(tx, span, page, total, progress)
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        await asyncio.to_thread(_write, pages, part, out)
    except OSError as error:
        raise InvalidInput(f"{out} cannot be written: {error.strerror or error}") from error
    return pages.written


class _Pages:
    """Reads a page each time the writer, in a thread of its own, asks for one."""

    def __init__(self, tx: Transaction, span: dict[str, Any], page: int, total: int, progress: Progress | None) -> None:
        self._tx, self._span, self._page = tx, span, page
        self._total, self._progress = total, progress
        self._loop = asyncio.get_running_loop()
        self.written = 0

    def __iter__(self) -> Iterator[RecordBatch]:
        place, behind, more = None, None, True
        while more:
            reading = self._read(place, behind)
            rows = asyncio.run_coroutine_threadsafe(reading, self._loop).result()
            more = len(rows) == self._page
            if rows:
                place, behind = rows[-1]["occurred_at"], rows[-1]["source_event_id"]
                yield _batch(rows)
            self.written += len(rows)
            if self._progress is not None:
                self._progress(self.written, self._total)

    async def _read(self, place: datetime | None, behind: str | None) -> Sequence[Any]:
        rows: Sequence[Any] = await _queries.read_exported(
            self._tx.connection, **self._span, place=place, behind=behind, most=self._page
        )
        return rows


def _require_new(out: Path) -> None:
    if out.exists():
        raise Conflict(f"{out} is there already; take another name, or remove it first")


def _write(pages: _Pages, part: Path, out: Path) -> None:
    from arro3.core import RecordBatchReader
    from arro3.io import write_parquet

    reader: RecordBatchReader = RecordBatchReader.from_batches(_schema(), iter(pages))
    try:
        with part.open("wb") as file:
            write_parquet(reader, file, compression="zstd(3)", max_row_group_size=GROUP)
            file.flush()
            os.fsync(file.fileno())
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def _schema() -> Any:
    from arro3.core import Field, Schema

    return Schema([Field(name, _type(name), nullable=is_null) for name, is_null in COLUMNS.items()])


def _type(name: str) -> Any:
    from arro3.core import DataType

    if name in TIMES:
        return DataType.timestamp("us", tz="UTC")
    return DataType.int32() if name == "event_version" else DataType.utf8()


def _batch(rows: Sequence[Any]) -> RecordBatch:
    from arro3.core import Array, DataType, RecordBatch

    def column(name: str) -> Any:
        values = [row[name] for row in rows]
        if name in TIMES:
            moments = [(value - _EPOCH) // _MICROSECOND for value in values]
            return Array(moments, DataType.int64()).cast(_type(name))
        return Array(values, _type(name))

    return RecordBatch.from_arrays([column(name) for name in COLUMNS], schema=_schema())
