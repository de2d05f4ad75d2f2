-- Seal `seal_no` covers the rows at `first_position` to `last_position` of the workspace's chain; (last_xid, last_audit_id)
-- is the place of the last one. `manifest` has 48 bytes a row, its id and its hash. `seal_hash` covers all other columns.
CREATE TABLE datalane.audit_seals (
    workspace_id uuid NOT NULL,
    seal_no bigint NOT NULL CONSTRAINT seals_count_from_one CHECK (seal_no >= 1),
    first_position bigint NOT NULL CONSTRAINT positions_count_from_one CHECK (first_position >= 1),
    last_position bigint NOT NULL,
    last_xid bigint NOT NULL,
    last_audit_id uuid NOT NULL,
    manifest bytea NOT NULL,
    previous_hash bytea NOT NULL CONSTRAINT previous_hash_is_sha256 CHECK (octet_length(previous_hash) = 32),
    seal_hash bytea NOT NULL CONSTRAINT seal_hash_is_sha256 CHECK (octet_length(seal_hash) = 32),
    sealed_at timestamptz NOT NULL CONSTRAINT sealed_at_is_a_moment CHECK (isfinite(sealed_at)),
    PRIMARY KEY (workspace_id, seal_no),
    CONSTRAINT manifest_has_every_row CHECK (octet_length(manifest) = 48 * (last_position - first_position + 1)),
    CONSTRAINT seals_are_not_empty CHECK (last_position >= first_position)
);
SELECT app.protect('datalane.audit_seals', 'log', verbs => 'SELECT, INSERT', operator_columns =>
    '{workspace_id,seal_no,first_position,last_position,seal_hash,sealed_at}');
REVOKE INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER ON datalane.audit_seals FROM datalane_owner;
