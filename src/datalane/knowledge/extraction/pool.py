"""The pool of extraction children."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from datalane.kit.children import ChildPool
from datalane.knowledge.extraction.process import Child, ChildFailed, ChildSettings, ExtractionUnavailable
from datalane.knowledge.extraction.types import Bounds, Extracted, Failure, Source
from datalane.knowledge.parsing.errors import ParseTimeout

__all__ = ["ExtractionPool", "ExtractionUnavailable"]

MEBIBYTE = 1024 * 1024
_MESSAGE_BYTES = 8 * MEBIBYTE
_MESSAGE_DOCUMENTS = 1000

logger = logging.getLogger(__name__)


class ExtractionPool(ChildPool[Child]):
    """Up to `size` children; each document gets `timeout_seconds` and each child `memory_bytes` of address space.

    `bounds` is what a document may have. `setup` names functions ("module:function") that every child calls at its
    start, to register parsers of your own (`datalane.knowledge.parsing.register_parser`). Belongs to the event loop it
    is used in, and that loop must run in a thread that outlives the pool: the kernel ends the children together with
    the thread that started them.
    """

    def __init__(
        self,
        size: int = 1,
        timeout_seconds: float = 60.0,
        memory_bytes: int = 1024 * MEBIBYTE,
        setup: Sequence[str] = (),
        bounds: Bounds | None = None,
    ) -> None:
        settings = ChildSettings(timeout_seconds, memory_bytes, tuple(setup), bounds or Bounds())
        super().__init__(size, lambda: Child.start(settings), ExtractionUnavailable)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def start(self) -> None:
        """Start all children now instead of at first use. Raises ExtractionUnavailable."""
        self._idle += await asyncio.gather(*(self._start() for _ in range(self._size - len(self._idle))))

    async def extract_many(self, batch: Sequence[Source]) -> list[Extracted | Failure]:
        """One result per source, in order; a document's fault is a Failure, never an exception.

        Raises ExtractionUnavailable when no child can be started. When canceled, the child at work is killed.
        """
        results: list[Extracted | Failure] = []
        for message in _split_messages(batch):
            results += await self._extract_message(message)
        return results

    async def _extract_message(self, batch: Sequence[Source]) -> list[Extracted | Failure]:
        try:
            return await self._ask(batch)
        except ChildFailed as failed:
            logger.warning("extraction child replaced: %s; documents in its batch: %d", failed, len(batch))
            if len(batch) == 1:
                return [await self._settle(batch[0], failed)]
        return [result for source in batch for result in await self._extract_message([source])]

    async def _settle(self, source: Source, failed: ChildFailed) -> Extracted | Failure:
        """Blame the document, unless its child had served others before: then a fresh child decides."""
        if failed.had_served and not isinstance(failed.error, ParseTimeout):
            try:
                return (await self._ask([source], fresh=True))[0]
            except ChildFailed as again:
                failed = again
        return Failure(failed.error.code, str(failed.error), failed.error.retryable)

    async def _ask(self, batch: Sequence[Source], fresh: bool = False) -> list[Extracted | Failure]:
        async with self._lend(fresh=fresh) as child:
            return await child.extract(batch)


def _split_messages(batch: Sequence[Source]) -> Iterator[Sequence[Source]]:
    """Runs of `batch` small enough for one message; a large document goes alone."""
    begin, size = 0, 0
    for index, source in enumerate(batch):
        length = len(source.data) if isinstance(source.data, bytes) else _MESSAGE_BYTES
        if index > begin and (size + length > _MESSAGE_BYTES or index - begin == _MESSAGE_DOCUMENTS):
            yield batch[begin:index]
            begin, size = index, 0
        size += length
    if begin < len(batch):
        yield batch[begin:]
