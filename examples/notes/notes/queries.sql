-- name: add_note(workspace_id, note_id, text, status, now, actor_id)!
-- A new note.
INSERT INTO notes.notes (workspace_id, note_id, text, status, created_at, created_by_actor_id)
VALUES (:workspace_id, :note_id, :text, :status, :now, :actor_id);

-- name: get_note(workspace_id, note_id)^
-- One note.
SELECT note_id, text, status, version, created_at, created_by_actor_id FROM notes.notes
WHERE workspace_id = :workspace_id AND note_id = :note_id;

-- name: list_notes(workspace_id, after, page_size)
-- Notes, the newest first: their ids are in the order of time.
SELECT note_id, text, status, version, created_at, created_by_actor_id FROM notes.notes
WHERE workspace_id = :workspace_id AND (:after::uuid IS NULL OR note_id < :after)
ORDER BY note_id DESC LIMIT :page_size;

-- name: move_note(workspace_id, note_id, version, status, sources)!
-- A step through the lifecycle, from the version that was seen.
UPDATE notes.notes SET status = :status, version = version + 1
WHERE workspace_id = :workspace_id AND note_id = :note_id AND version = :version AND status = ANY (:sources::text[]);
