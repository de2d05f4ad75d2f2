"""Documents that a URL gives: fetched while no transaction is open, then kept as any upload."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from datalane.errors import RateLimited
from datalane.kit.outbound import MOST_URL_CHARACTERS, Outbound, check_url
from datalane.knowledge.documents.schemas import NewDocument, describe_file
from datalane.knowledge.parsing.media import media_type_of_extension

AT_ONCE = 2
"""Documents that one process fetches for one workspace at a time: a slow source holds up nobody else."""
ALL_AT_ONCE = 16
"""Of all workspaces; others wait."""
_PAUSE = 1.0


class FetchDocument(BaseModel):
    """`url` becomes the document's source: what it gives later is a version of the same document, or of `document_id`.
    The rest is as of an upload."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(min_length=1, max_length=MOST_URL_CHARACTERS)
    title: str | None = None
    tags: list[str] = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)
    document_id: UUID | None = None


class Fetching:
    """What is being fetched, of which workspaces."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self._running: Counter[UUID] = Counter()
        self._all = asyncio.Semaphore(ALL_AT_ONCE)

    @asynccontextmanager
    async def fetched(
        self, workspace_id: UUID, said: FetchDocument, most: int
    ) -> AsyncIterator[tuple[NewDocument, bytes]]:
        """The document and its bytes, up to `most`, which are in memory until the block ends.

        Raises as `Outbound.fetch`, and `RateLimited`.
        """
        check_url(said.url)
        with self._counted(workspace_id):
            async with self._all:
                fetched = await self._outbound.fetch(said.url, most, workspace_id)
                new = describe_file(
                    filename=_filename(fetched.url),
                    media_type=fetched.media_type,
                    source_uri=said.url,
                    **said.model_dump(exclude={"url"}, exclude_unset=True),
                )
                yield new, fetched.data

    @contextmanager
    def _counted(self, workspace_id: UUID) -> Iterator[None]:
        if self._running[workspace_id] >= AT_ONCE:
            raise RateLimited(f"{AT_ONCE} documents of this workspace are being fetched", _PAUSE)
        self._running[workspace_id] += 1
        try:
            yield
        finally:
            self._running[workspace_id] -= 1
            if not self._running[workspace_id]:
                del self._running[workspace_id]


def _filename(url: str) -> str | None:
    """The last part of the path, if it ends as a file of a known kind: `/page.php` says nothing of what it gives."""
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    return name if media_type_of_extension(PurePosixPath(name).suffix.lower()) is not None else None
