-- The notes' own schema, behind the same wall as the lane's. Run it once, as the owner role.
CREATE SCHEMA notes;
GRANT USAGE ON SCHEMA notes TO datalane_app, datalane_backup;

CREATE TABLE notes.notes (
    workspace_id uuid NOT NULL,
    note_id uuid NOT NULL,
    text text NOT NULL,
    status text NOT NULL CONSTRAINT status_is_known CHECK (status IN ('open', 'done')),
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    created_by_actor_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, note_id)
);
SELECT app.protect('notes.notes', 'tenant');
