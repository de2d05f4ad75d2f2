"""What rules may do with documents.

The action leaves a job, which keeps the text, or what a URL gives, in the file store, and then writes the document:
that takes its time and asks other systems, and the transaction of a rule's run does not wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from datalane.contracts.storable import Text
from datalane.db.database import Database
from datalane.db.transaction import Transaction
from datalane.engine.actions import Action, ActionCall, Actions
from datalane.engine.handlers import Handler, Handlers, Job, Mode
from datalane.engine.jobs import enqueue
from datalane.kit.outbound import MOST_URL_CHARACTERS, check_url
from datalane.knowledge.documents.fetching import FetchDocument, Fetching
from datalane.knowledge.documents.originals import check_document, store_original
from datalane.knowledge.documents.pushing import push
from datalane.knowledge.documents.schemas import NewDocument
from datalane.knowledge.documents.service import upload_or_discard
from datalane.knowledge.files import FileStore
from datalane.knowledge.permissions import ADD_DOCUMENTS

BRING = "document.bring"


class DocumentToIngest(BaseModel):
    """A text, or the URL that gives the document. A text of the same `source_uri` is the next version of one document;
    a URL is its own source."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[Text, Field(min_length=1)] | None = None
    url: Annotated[Text, Field(min_length=1, max_length=MOST_URL_CHARACTERS)] | None = None
    title: Text | None = None
    source_uri: Annotated[Text, Field(min_length=1, max_length=2_000)] | None = None
    tags: list[Text] = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.text is None) == (self.url is None):
            raise ValueError("give a text or a url")
        if self.url is not None and self.source_uri is not None:
            raise ValueError("the source of what a url gives is the url; leave source_uri out")
        return self

    def as_new(self) -> NewDocument:
        """The document of a text."""
        said = self.model_dump(include={"title", "source_uri", "tags", "metadata"}, exclude_unset=True)
        return NewDocument(media_type="text/plain", **said)


async def _leave_job(tx: Transaction, wanted: DocumentToIngest, call: ActionCall) -> Mapping[str, Any]:
    """What is wrong with it is said now, not by the job."""
    ADD_DOCUMENTS.check(tx.context)
    check_document(wanted.as_new(), len((wanted.text or "").encode()), tx.limits)
    if wanted.url is not None:
        check_url(wanted.url)
    left = await enqueue(
        tx, BRING, wanted.model_dump(mode="json", exclude_unset=True), idempotency_key=call.idempotency_key
    )
    return {"job_id": str(left.job_id)}


def register_actions(actions: Actions) -> None:
    description = "Keeps a text, or what a URL gives, as a document and ingests it, by a job."
    actions.add(Action("document.ingest", description, DocumentToIngest, ADD_DOCUMENTS, _leave_job))


@dataclass(frozen=True, slots=True)
class Bringing:
    """The job that a rule's action leaves. Done twice it makes nothing twice: the same bytes are one document. What it
    kept for a transaction that failed is an orphan, which the sweep removes.

    It holds `writing` while the bytes are in memory on their way to the file store.
    """

    database: Database
    files: FileStore
    fetching: Fetching
    writing: asyncio.Semaphore

    def register(self, handlers: Handlers) -> None:
        handlers.add(Handler(BRING, Mode.EXTERNAL, self.bring))

    async def bring(self, job: Job) -> None:
        """Raises as `Fetching.fetched`, `store_original` and `push`."""
        wanted = DocumentToIngest.model_validate(job.args)
        async with self._read(job, wanted) as (new, data), self.writing:
            original = await store_original(self.files, job.workspace_id, new, data, self.database.limits)
        async with self.database.transaction(job.context) as tx:
            if new.source_uri is None:
                await upload_or_discard(tx, self.files, original)
            else:
                await push(tx, self.files, original)

    @asynccontextmanager
    async def _read(self, job: Job, wanted: DocumentToIngest) -> AsyncIterator[tuple[NewDocument, bytes]]:
        if wanted.url is None:
            yield wanted.as_new(), (wanted.text or "").encode()
            return
        said = wanted.model_dump(include={"url", "title", "tags", "metadata"}, exclude_unset=True)
        most = self.database.limits.upload
        async with self.fetching.fetched(job.workspace_id, FetchDocument(**said), most) as found:
            yield found
