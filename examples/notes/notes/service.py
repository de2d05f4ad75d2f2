"""Writing, reading and moving notes."""

from __future__ import annotations

from uuid import UUID

from datalane import Transaction
from datalane.db.named_queries import load_queries
from datalane.engine.events import publish
from datalane.errors import NotFound, StaleVersion
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7
from notes.permissions import CREATE_NOTES, MOVE_NOTES, READ_NOTES
from notes.schemas import NewNote, Note, NoteMove, NotePage
from notes.states import NOTE

_queries = load_queries(__file__)


async def create_note(tx: Transaction, new: NewNote) -> Note:
    """The note and its event commit together or not at all."""
    CREATE_NOTES.check(tx.context)
    note = Note(
        note_id=uuid7(),
        text=new.text,
        status="open",
        version=1,
        created_at=utc_now(),
        created_by_actor_id=tx.context.actor_id,
    )
    await _queries.add_note(
        tx.connection,
        workspace_id=tx.workspace_id,
        note_id=note.note_id,
        text=note.text,
        status=note.status,
        now=note.created_at,
        actor_id=note.created_by_actor_id,
    )
    await publish(tx, "note.created", {"note_id": str(note.note_id)}, subject_id=str(note.note_id))
    return note


async def get_note(tx: Transaction, note_id: UUID) -> Note:
    """Raises `NotFound`."""
    READ_NOTES.check(tx.context)
    row = await _queries.get_note(tx.connection, workspace_id=tx.workspace_id, note_id=note_id)
    if row is None:
        raise NotFound("no such note")
    return Note(**row)


async def list_notes(tx: Transaction, cursor: str | None = None, page_size: int = 25) -> NotePage:
    """Notes, the newest first. Raises `InvalidInput` for a cursor that is not this list's."""
    READ_NOTES.check(tx.context)
    rows = await _queries.list_notes(
        tx.connection,
        workspace_id=tx.workspace_id,
        after=tx.read_id_cursor("notes", cursor),
        page_size=page_size + 1,
    )
    page, following = tx.cut_page("notes", rows, page_size, lambda row: [row["note_id"]])
    return NotePage(data=[Note(**row) for row in page], page_size=page_size, next_cursor=following)


async def move_note(tx: Transaction, move: NoteMove) -> Note:
    """One guarded statement. Why it did not do anything is asked afterwards.

    Raises `NotFound`, `StaleVersion` and `IllegalTransition`.
    """
    MOVE_NOTES.check(tx.context)
    done = await _queries.move_note(
        tx.connection,
        workspace_id=tx.workspace_id,
        note_id=move.note_id,
        version=move.version,
        status=move.status,
        sources=NOTE.sources(move.status),
    )
    note = await get_note(tx, move.note_id)
    if done == "UPDATE 1":
        return note
    if note.version != move.version:
        raise StaleVersion(f"the note is at version {note.version}", {"current": note.model_dump(mode="json")})
    NOTE.check(note.status, move.status)
    raise AssertionError("a step that the lifecycle allows was not done")
