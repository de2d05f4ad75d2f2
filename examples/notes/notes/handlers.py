"""What happens after a note was written."""

from __future__ import annotations

from uuid import UUID

from datalane import Job, Transaction
from datalane.db.named_queries import load_queries
from datalane.engine.events import get_event
from notes.states import NOTE

_queries = load_queries(__file__)


async def finish_short_notes(tx: Transaction, job: Job) -> None:
    """A note of one word has nothing to be done. Runs exactly once: its effect commits with the job's completion."""
    event = await get_event(tx, UUID(job.args["event_id"]))
    if event is None:
        return
    scope = {"workspace_id": tx.workspace_id, "note_id": UUID(event.payload["note_id"])}
    note = await _queries.get_note(tx.connection, **scope)
    if note is not None and " " not in note["text"]:
        await _queries.move_note(
            tx.connection, **scope, version=note["version"], status="done", sources=NOTE.sources("done")
        )
