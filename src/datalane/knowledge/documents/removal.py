"""The files of deleted documents: removed by a job, which leaves an audit record when they are gone.

    prepare (outside)          apply (one transaction, with the job's completion)
    removes the files  ──────> document.files_removed, with how many

Removing is repeatable, and the record commits with the completion: however often a job runs, there is one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

from datalane.db.transaction import Transaction
from datalane.engine import audit
from datalane.engine.failures import JobError
from datalane.engine.handlers import Handler, Handlers, Job, Mode
from datalane.engine.jobs import enqueue
from datalane.knowledge.files import FileStore, is_key_of

REMOVE_FILES = "document.remove_files"
FILES_OF_A_JOB = 100
"""Its arguments name them, and have a limit."""
_ATTEMPTS = 10
_REMOVED_AT_ONCE = 16


async def enqueue_removal(tx: Transaction, document_id: UUID, file_keys: Sequence[str]) -> None:
    """Have the files of a document removed once this transaction has committed."""
    for start in range(0, len(file_keys), FILES_OF_A_JOB):
        args = {"file_keys": list(file_keys[start : start + FILES_OF_A_JOB])}
        await enqueue(tx, REMOVE_FILES, args, subject_id=str(document_id), max_attempts=_ATTEMPTS)


class Removal:
    """The handler of these jobs."""

    def __init__(self, files: FileStore) -> None:
        self._files = files

    def register(self, handlers: Handlers) -> None:
        handlers.add(Handler(REMOVE_FILES, Mode.STAGED, self.apply, prepare=self.prepare))

    async def prepare(self, jobs: Sequence[Job]) -> list[int]:
        """Remove the files; answers how many are gone, with those that were gone before.

        Whoever may enqueue chooses the args, so they reach no other workspace's files. Raises `JobError`,
        `FileStoreUnavailable`.
        """
        return [await self._remove(job.workspace_id, job.args["file_keys"]) for job in jobs]

    async def _remove(self, workspace_id: UUID, keys: Sequence[str]) -> int:
        if not all(is_key_of(workspace_id, key) for key in keys):
            raise JobError("wrong_file", "a file is none of this workspace's originals", retryable=False)
        for start in range(0, len(keys), _REMOVED_AT_ONCE):
            await asyncio.gather(*(self._files.delete(key) for key in keys[start : start + _REMOVED_AT_ONCE]))
        return len(keys)

    async def apply(self, tx: Transaction, jobs: Sequence[Job], prepared: Sequence[int]) -> None:
        """Leave the record that the files are gone."""
        for job, files in zip(jobs, prepared, strict=True):
            await audit.record(tx, "document.files_removed", "document", job.subject_id, after={"files": files})
