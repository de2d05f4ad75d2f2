"""What a connector says a source holds now: the document of the source is made, or becomes that."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import InvalidInput, NotFound
from datalane.knowledge.documents.originals import Original
from datalane.knowledge.documents.schemas import Deleted, Uploaded
from datalane.knowledge.documents.service import delete_document, describe, upload_or_discard
from datalane.knowledge.files import FileStore
from datalane.knowledge.permissions import ADD_DOCUMENTS, DELETE_DOCUMENTS

_queries = load_queries(__file__)


async def push(tx: Transaction, files: FileStore, original: Original) -> Uploaded:
    """`upload_or_discard`, where other bytes of the same `source_uri` are the next version of what was pushed before.

    With a `document_id` that document is the source's from now on. Pushes of one workspace take turns, so that two of
    one source are one document. Raises `InvalidInput` without a source, and as `upload`.
    """
    ADD_DOCUMENTS.check(tx.context)
    if original.document.source_uri is None:
        raise InvalidInput(
            "a push names its source", [{"field": "source_uri", "message": "is missing", "code": "missing"}]
        )
    await _queries.lock_uploads(tx.connection, workspace_id=tx.workspace_id)
    key = _key(original.document.source_uri)
    document_id = original.document.document_id or await _find(tx, key)
    document = original.document.model_copy(update={"document_id": document_id})
    uploaded = await upload_or_discard(tx, files, replace(original, document=document))
    if document_id is None and not uploaded.created:
        await describe(tx, uploaded.document_id, document)
    await _queries.keep_source(
        tx.connection, workspace_id=tx.workspace_id, source_key=key, document_id=uploaded.document_id
    )
    return uploaded


async def withdraw(tx: Transaction, source_uri: str) -> Deleted:
    """The source has gone: `delete_document` of what was pushed from it. Raises `NotFound`."""
    DELETE_DOCUMENTS.check(tx.context)
    await _queries.lock_uploads(tx.connection, workspace_id=tx.workspace_id)
    document_id = await _find(tx, _key(source_uri))
    if document_id is None:
        raise NotFound("no document of this source")
    return await delete_document(tx, document_id)


async def _find(tx: Transaction, key: UUID) -> UUID | None:
    found: UUID | None = await _queries.find_by_source(tx.connection, workspace_id=tx.workspace_id, source_key=key)
    return found


def _key(source_uri: str) -> UUID:
    """What stands for the URI in an index."""
    return UUID(bytes=hashlib.sha256(source_uri.encode()).digest()[:16])
