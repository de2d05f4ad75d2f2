"""Routes of notes."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Query

from datalane import Transaction
from datalane.contracts.http import Door
from notes import service
from notes.permissions import CREATE_NOTES, MOVE_NOTES, READ_NOTES
from notes.schemas import NewNote, Note, NoteMove, NotePage


def router(door: Door) -> APIRouter:
    routes = door.router(prefix="/notes", tags=["notes"])

    @routes.post("/create", status_code=201)
    async def create(body: NewNote, tx: Transaction = door.writer(CREATE_NOTES)) -> Note:
        """Write a note."""
        return await service.create_note(tx, body)

    @routes.post("/move")
    async def move(body: NoteMove, tx: Transaction = door.writer(MOVE_NOTES)) -> Note:
        """Mark a note as done, or open it again."""
        return await service.move_note(tx, body)

    @routes.get("/list")
    async def list_notes(
        page_size: int = Query(25, ge=1, le=100),
        cursor: str | None = None,
        tx: Transaction = door.reader(READ_NOTES),
    ) -> NotePage:
        """Notes, the newest first. `cursor` is the `next_cursor` of the page before."""
        return await service.list_notes(tx, cursor, page_size)

    @routes.get("/{note_id}")
    async def get_note(note_id: UUID, tx: Transaction = door.reader(READ_NOTES)) -> Note:
        """One note."""
        return await service.get_note(tx, note_id)

    return routes
